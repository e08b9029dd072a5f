import io
from typing import get_args

import numpy as np
from rich import box

from ragbench.cli import console
from ragbench.measure.progress import in_one_line
from ragbench.statistics.summary import summarise
from ragbench.statistics.verdicts import Verdict
from ragbench.terminal import Terminal
from tests.ragbench.queues import rows_of

OPEN = {
    "point": "a-ideal-40rps-seed1",
    "verdict": "saturated",
    "verdict_reason": "it grew",
    "offered_rps": 40.0,
    "concurrency": None,
    "throughput_rps": 30.25,
    "goodput_rps": 20.0,
    "latency_p50_s": 0.01,
    "latency_p95_s": 0.02,
    "latency_p99_s": 0.03,
    "batch_size": None,
    "exact_match": 1.0,
    "f1": 0.75,
    "requests": 100,
    "completed": 98,
    "answered_share": 0.98,
}
CLOSED = OPEN | {"point": "a-closed-8users-seed1", "verdict": "valid", "offered_rps": None, "concurrency": 8}


def shown(table, width=200):
    """With lines between its columns, so that one can tell its cells apart."""
    table.box = box.HEAVY_HEAD
    return printed(table, width)


def printed(table, width):
    text = io.StringIO()
    Terminal(file=text, width=width).print(table)
    return text.getvalue()


def test_points_of_both_loops_have_their_load_and_their_verdict():
    one, other = (
        line
        for line in shown(console.points_table([{"summary": OPEN}, {"summary": CLOSED}])).splitlines()
        if "seed1" in line
    )
    assert [cell.strip() for cell in one.split("│")[1:-1]] == [
        *(
            "a-ideal-40rps-seed1",
            "saturated",
            "40/s",
            "30.25",
            "20",
            "0.01",
            "0.02",
            "0.03",
            "",
            "1",
            "0.75",
            "98%",
        ),
    ]
    assert [cell.strip() for cell in other.split("│")[2:4]] == ["valid", "8 users"]


def test_a_point_of_before_f1_was_measured_can_be_shown():
    old = {name: value for name, value in OPEN.items() if name != "f1"}
    (line,) = (line for line in shown(console.points_table([{"summary": old}])).splitlines() if "seed1" in line)
    assert [cell.strip() for cell in line.split("│")[-5:-1]] == ["", "1", "", "98%"]


def test_every_verdict_can_be_shown():
    for verdict in get_args(Verdict):
        assert verdict in shown(console.points_table([{"summary": OPEN | {"verdict": verdict}}]))


def test_reasons_tell_of_points_that_are_not_valid():
    assert console.reasons([{"summary": OPEN}, {"summary": CLOSED}]) == ["a-ideal-40rps-seed1: saturated: it grew"]


def test_a_load_shows_each_figure_with_its_interval():
    due = np.arange(1200) / 10
    summary = summarise(rows_of(due, due + np.random.default_rng(1).exponential(0.1, 1200)), offered_rps=10.0)
    lines = {
        line.split("│")[1].strip(): line
        for line in shown(console.load_table(summary, title="it")).splitlines()
        if "│" in line
    }
    cells = {name: [cell.strip() for cell in line.split("│")[2:-1]] for name, line in lines.items()}
    assert cells["latency_p95_s"][1:] == [f"{summary.latency_p95_low_s:.4g}", f"{summary.latency_p95_high_s:.4g}"]
    assert cells["latency_p90_s"][1:] == ["", ""]
    assert "latency_p95_low_s" not in lines
    assert lines["verdict"].split("│")[2].strip() == "valid"


def test_a_table_is_made_of_attributes_keys_and_functions():
    rows = [{"a": 1234567, "b_s": 0.000123456, "is_c": True, "status": "ok"}, {"a": None, "b_s": float("nan")}]
    table = console.table_of(["a", "b_s", "is_c", "status", ("d", len)], rows, title="it")
    first, second = (line for line in shown(table).splitlines() if "│" in line)
    assert [cell.strip() for cell in first.split("│")[1:-1]] == ["1,234,567", "0.0001235", "yes", "ok", "4"]
    assert [cell.strip() for cell in second.split("│")[1:-1]] == ["", "", "", "", "2"]
    assert [(str(column.header), column.justify) for column in table.columns][:3] == [
        *(("a", "right"), ("b s", "right"), ("is c", "left")),
    ]
    assert "b_c" not in shown(empty := console.table_of(["a.b_c"], [], title="it"))
    assert "b c" in shown(empty)


def test_no_word_is_broken_where_there_is_room_and_nothing_is_cut_off_where_there_is_none():
    row = {f"latency_p{of}_interval": "from 0.010" for of in (50, 90, 95, 99)} | {"verdict": "client_limited"}
    words = ["it", *" ".join(row).replace("_", " ").split(), *" ".join(row.values()).split()]
    wide = printed(console.table_of(list(row), [row], title="it"), 70)
    assert sorted(wide.replace("─", "").split()) == sorted(words)
    assert max(map(len, wide.splitlines())) <= 70
    narrow = printed(console.table_of(list(row), [row], title="it"), 30)
    assert max(map(len, narrow.splitlines())) <= 30
    assert sorted("".join(narrow.replace("─", "").split())) == sorted("".join(words))


def test_a_long_word_is_folded_and_leaves_the_other_columns_whole():
    row = {"long": "x" * 300, "verdict": "client_limited"}
    text = printed(console.table_of(list(row), [row], title="it"), 80)
    assert "client_limited" in text
    assert text.count("x") == 300


def test_a_point_in_one_line():
    assert in_one_line(OPEN) == "saturated, 30.2 of 40 requests/s, p50 10 ms, p99 30 ms, 2 not ok (it grew)"
    assert in_one_line(CLOSED) == "valid, 30.2 requests/s from 8 users, p50 10 ms, p99 30 ms, 2 not ok"
