import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragbench.cli import common
from ragbench.terminal import Bar, Spinner, Table, Terminal, plain, styled

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


@pytest.mark.parametrize("make", [Spinner, lambda text, console: Bar(text, total=2, console=console)])
def test_what_changes_on_a_terminal_is_plain(make):
    text = io.StringIO()
    with make(f"first {HOSTILE}", console=Terminal(file=text, width=200, force_terminal=True)) as line:
        line.show(f"second {HOSTILE} {SEQUENCE}")
    assert f"second {HOSTILE} {SHOWN}" in text.getvalue()


def test_nothing_changes_where_there_is_no_terminal():
    text = io.StringIO()
    console = Terminal(file=text)
    with Spinner("a", console=console) as line:
        line.show("b")
    assert list(Bar("a", total=2, console=console).over([1, 2])) == [1, 2]
    assert (line.is_shown, text.getvalue()) == (False, "")


def test_a_line_of_a_command_is_plain(capsys):
    common.say(f"{HOSTILE} {SEQUENCE}")
    assert capsys.readouterr().err == f"{HOSTILE} {SHOWN}\n"
