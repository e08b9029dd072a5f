import io
import tomllib

from ragbench.measure.progress import Progress, expected_s, in_one_line
from ragbench.results.records import Row
from ragbench.study.points import expand
from ragbench.study.study_file import parse_study
from ragbench.terminal import Terminal

STUDY = "[load]\nrates = [20, 40]\nduration_s = 30\narrivals = ['ideal']\n[designs.a]\ncommand = 'x'\n"
POINTS = expand(parse_study(tomllib.loads(STUDY), default_name="s"))[0].points
SUMMARY = {
    "verdict": "valid",
    "verdict_reason": "fine",
    "throughput_rps": 19.96,
    "offered_rps": 20.0,
    "latency_p50_s": 0.0123,
    "latency_p99_s": 0.5,
    "requests": 60,
    "completed": 58,
}


def test_expected_time_counts_loads_warmups_and_starts():
    assert expected_s(POINTS, starts=2) == 30 + 30 + 2 * 1 + 2 * 5


def test_told():
    assert in_one_line(SUMMARY) == "valid, 20.0 of 20 requests/s, p50 12 ms, p99 500 ms, 2 not ok"
    failed = SUMMARY | {"verdict": "failed", "verdict_reason": "it died", "latency_p50_s": None, "latency_p99_s": None}
    failed |= {"throughput_rps": 0.0}
    assert in_one_line(failed) == "failed, 0.0 of 20 requests/s, 2 not ok (it died)"


def show(*, terminal):
    text = io.StringIO()
    console = Terminal(file=text, force_terminal=terminal, width=200)
    with Progress(POINTS, starts=1, console=console) as progress:
        first = POINTS[0]
        progress.doing("starting a")
        progress.begin(first.name)
        progress.row(Row(0, "q", 0.0, status="ok"))
        progress.row(Row(1, "q", 0.0, status="timeout"))
        progress._bar.refresh()  # as it does twice a second
        progress.point_ends(first, SUMMARY)
    return text.getvalue()


def test_lines_where_there_is_no_terminal():
    text = show(terminal=False)
    assert "\x1b" not in text
    assert text.splitlines() == [
        f"[1/2] {POINTS[0].name} | 1 min 07 s left",
        f"[1/2] {POINTS[0].name}: {in_one_line(SUMMARY)}",
    ]


def test_a_live_bar_on_a_terminal():
    text = show(terminal=True)
    assert f"[1/2] {POINTS[0].name} | 1 min 07 s left" in text
    assert f"[1/2] {POINTS[0].name}: {in_one_line(SUMMARY)}\n" in text


def test_time_left_shrinks_with_the_points_done():
    progress = Progress(POINTS, starts=1)
    before = progress.left_s()
    progress.point_ends(POINTS[0], SUMMARY)
    assert progress.left_s() < before
    progress.point_ends(POINTS[1], SUMMARY)
    assert progress.left_s() == 0


def test_a_search_does_not_know_its_points():
    text = io.StringIO()
    progress = Progress(console=Terminal(file=text, width=200))
    progress.begin(POINTS[0].name)
    progress.done("carried")
    assert text.getvalue().splitlines() == [f"[1] {POINTS[0].name}", "[1] carried"]
