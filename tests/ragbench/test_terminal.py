import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragbench.cli import common
from ragbench.terminal import Status, Table, Terminal, minutes, plain, styled

HOSTILE = "[/INST] [x] [bold]b[/bold] :smile: {task.total} \\[y] $a$"
SEQUENCE = "\x1b[31mred\x1b[0m \x9b2J\x07 \r over \u202egnp.exe \ud800"
SHOWN = "\\x1b[31mred\\x1b[0m \\x9b2J\\x07 \\r over \\u202egnp.exe \\ud800"


def shown(*things, force_terminal=None, **options):
    text = io.StringIO()
    Terminal(file=text, width=200, force_terminal=force_terminal).print(*things, **options)
    return text.getvalue()


def test_control_characters_are_made_visible():
    assert plain(SEQUENCE) == SHOWN
    assert plain("a\tb\nc") == "a\tb\nc"


@given(st.text())
def test_no_text_reaches_a_terminal_as_a_sequence(text):
    assert all(char in "\n\t" or not 0 <= ord(char) < 32 for char in plain(text))
    plain(text).encode()


@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_line_is_shown_as_it_is(is_terminal):
    assert shown(f"{HOSTILE} {SEQUENCE}", force_terminal=is_terminal) == f"{HOSTILE} {SHOWN}\n"
    assert f"{HOSTILE} {SHOWN}" in shown(styled(f"{HOSTILE} {SEQUENCE}", "red"), force_terminal=is_terminal)


def test_switches_that_turn_parsing_on_are_not_heard():
    assert shown(HOSTILE, markup=True, emoji=True, highlight=True) == f"{HOSTILE}\n"


def test_a_table_is_plain_in_every_part():
    table = Table("left", title=f"title {HOSTILE}", caption=f"caption {HOSTILE} {SEQUENCE}")
    table.add_column(f"head {HOSTILE}")
    table.add_row(f"cell {HOSTILE} {SEQUENCE}", styled(HOSTILE, "red"))
    text = shown(table)
    for part in ("title", "head", "cell", "caption"):
        assert f"{part} {HOSTILE}" in text
    assert text.count(SHOWN) == 2


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (126, "2 min 06 s"), (12_000, "3 h 20 min")],
)
def test_minutes(seconds, text):
    assert minutes(seconds) == text


class Shown:
    """A status on a terminal or in a log, at times of our own. `text`: what was printed."""

    def __init__(self, monkeypatch, *, is_terminal, text="first", **options):
        self.file, self.now_s = io.StringIO(), 0.0
        monkeypatch.setattr("ragbench.terminal.time.monotonic", lambda: self.now_s)
        self.status = Status(text, console=Terminal(file=self.file, width=200, force_terminal=is_terminal), **options)

    @property
    def lines(self):
        return self.file.getvalue().splitlines()


def test_what_changes_on_a_terminal_is_plain(monkeypatch):
    shown = Shown(monkeypatch, is_terminal=True, text=f"first {HOSTILE}")
    with shown.status as status:
        status.doing(f"second {HOSTILE} {SEQUENCE}")
    assert f"second {HOSTILE} {SHOWN}" in shown.file.getvalue()


def test_a_log_has_a_line_a_step_and_no_other_line_more_often_than_every_10_s(monkeypatch):
    shown = Shown(monkeypatch, is_terminal=False, total=2, left_s=lambda: 66.0)
    with shown.status as status:
        status.doing("not in a step")
        status.begin("a")
        for tenth in range(1, 251):
            shown.now_s = tenth / 10
            status.count(is_ok=tenth % 10 > 0)
        status.done("fine")
        status.note("by the way")
        status.begin("b")
        status.doing("its first part")
        status.doing("its second part")
    assert shown.lines == [
        "[1/2] a | 1 min 06 s left",
        "[1/2] a | 9.0 ok/s, 10 errors | 1 min 06 s left",
        "[1/2] a | 9.0 ok/s, 20 errors | 1 min 06 s left",
        "[1/2] fine",
        "by the way",
        "[2/2] b | 1 min 06 s left",
        "[2/2] b | its first part | 1 min 06 s left",
    ]


def test_a_terminal_has_a_bar_and_a_line_that_follows(monkeypatch):
    shown = Shown(monkeypatch, is_terminal=True, total=3)
    with shown.status as status:
        for step in ("a", "b"):
            status.begin(step)
            for number in range(10):
                shown.now_s += 0.1
                status.count(is_ok=number > 0)
            shown.status._bar.refresh()
        status.done("fine")
        assert shown.status._bar.tasks[0].completed == 2
    text = shown.file.getvalue()
    for line in ("[1/3] a | ", "[2/3] b | ", " ok/s, 1 errors", "[2/3] fine\n"):
        assert line in text


def test_a_step_that_begins_ends_the_one_before(monkeypatch):
    shown = Shown(monkeypatch, is_terminal=False)
    for step in ("a", "b"):
        shown.status.begin(step)
    assert shown.lines == ["[1] a", "[2] b"]


def test_a_log_says_nothing_of_short_looks(monkeypatch):
    shown = Shown(monkeypatch, is_terminal=False, total=2)
    assert list(shown.status.over([1, 2])) == [1, 2]
    assert shown.lines == []


def test_a_line_of_a_command_is_plain(capsys):
    common.say(f"{HOSTILE} {SEQUENCE}")
    assert capsys.readouterr().err == f"{HOSTILE} {SHOWN}\n"
