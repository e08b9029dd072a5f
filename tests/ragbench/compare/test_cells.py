import json
import shutil

import numpy as np
import pandas as pd
import pytest

from ragbench.compare.cells import compare, frame
from ragbench.compare.gate import judge, parse_gates
from ragbench.compare.pairs import make_pairs
from ragbench.compare.sides import Side, parse_side, read_runs
from ragbench.compare.wording import footnotes, number, sentences, signed
from ragbench.files.toml_tables import StudyError
from ragbench.results.slo import Slo
from tests.ragbench.compare_fixture import write_runs

SEEDS = (1, 2, 3, 4, 5)


def same(rate):
    return 0.014


def slower(rate):
    return 0.014 * 1.2


def compared(folder, a="one", b="two", **options):
    return compare(make_pairs(parse_side(f"{folder}:{a}"), parse_side(f"{folder}:{b}"), **options))


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    """Two servers 20% apart, five seeds, two rates, two arrivals."""
    folder = tmp_path_factory.mktemp("apart") / "apart"
    return write_runs(folder, {"one": same, "two": slower}, rates=(20, 40), seeds=SEEDS, arrivals=("ideal", "poisson"))


@pytest.mark.parametrize(
    ("text", "side"),
    [
        ("results/smoke", ("results/smoke", None, None)),
        ("results/smoke:batched-max_batch_size=8", ("results/smoke", "batched-max_batch_size=8", None)),
        ("r:batched@gamma:cv=3", ("r", "batched", "gamma:cv=3")),
        ("r:@ideal", ("r", None, "ideal")),
    ],
)
def test_a_side_is_read(text, side):
    folder, design, arrival = side
    assert parse_side(text) == Side(type(parse_side(text).folder)(folder), design, arrival)


def test_a_side_without_a_folder_is_a_mistake():
    with pytest.raises(StudyError, match="a side looks like FOLDER"):
        parse_side(":batched")


def test_what_is_not_there_is_named_with_what_is(apart):
    with pytest.raises(StudyError, match=r"no configuration 'three' in .*/summary\.csv; there: one, two"):
        read_runs(parse_side(f"{apart}:three"))
    with pytest.raises(StudyError, match=r"no arrival 'gamma' in .*; there: ideal, poisson"):
        read_runs(parse_side(f"{apart}:one@gamma"))
    with pytest.raises(StudyError, match="no study at"):
        read_runs(parse_side(f"{apart}/absent"))


def test_old_columns_say_what_writes_new_ones(apart, tmp_path):
    (tmp_path / "summary.csv").write_text("point,design,arrival\n")
    with pytest.raises(StudyError, match=r"lacks the columns .*ragbench report"):
        read_runs(parse_side(str(tmp_path)))


def test_a_runs_requests_are_those_of_its_window(apart):
    run = next(run for run in read_runs(parse_side(f"{apart}:one@ideal")) if run.level.offered_rps == 20)
    start_s, end_s = run.window.start_s, run.window.end_s
    rows = pd.read_csv(run.paths.requests)
    ended = rows[(rows["done_s"] >= start_s) & (rows["done_s"] <= end_s)]
    requests = run.requests()
    assert len(requests.latencies_s) == 360  # due at 2.0, 2.05, .. 19.95 s
    (throughput_rps,) = pd.read_csv(apart / "summary.csv").query("point == @run.paths.folder.name")["throughput_rps"]
    assert requests.answered.sum() == len(ended) == throughput_rps * (end_s - start_s)


@pytest.mark.slow
def test_two_equal_servers_read_no_difference_in_19_of_20(tmp_path):
    found = []
    for repeat in range(20):
        folder = write_runs(
            tmp_path / str(repeat),
            {"one": same, "two": same},
            rates=(20, 40),
            seeds=(100 + repeat,),
            duration_s=12,
            noise=repeat,
        )
        found.append(bool([cell for cell in compared(folder).compared if cell.is_shown]))
    assert sum(found) <= 1


def test_equal_servers_over_seeds_read_no_difference(tmp_path):
    folder = write_runs(tmp_path / "same", {"one": same, "two": same}, rates=(20, 40), seeds=SEEDS)
    comparison = compared(folder)
    assert len(comparison.compared) == 8  # goodput is throughput here, and not counted again
    assert not any(cell.is_shown for cell in comparison.cells)
    assert [line[:53] for line in sentences(comparison)] == [
        "no difference shown between two and one at 20/s, pois",
        "no difference shown between two and one at 40/s, pois",
    ]


def test_servers_20_percent_apart_are_told_from_one_run_each(tmp_path):
    folder = write_runs(tmp_path / "apart", {"one": same, "two": slower}, rates=(40,))
    comparison = compared(folder)
    lines = sentences(comparison)
    assert any(line.startswith("two is slower than one at 40/s by ") for line in lines)
    assert any("speak of these runs only" in line.replace("\n", " ") for line in footnotes(comparison))
    assert {cell.difference.method for cell in comparison.compared} == {"within the runs, paired"}
    p99 = next(cell for cell in comparison.cells if cell.metric == "latency_p99_s")
    assert p99.why_not == "too few requests for an interval"


@pytest.mark.slow
def test_three_seeds_show_more_than_one_and_the_gate_fails(tmp_path):
    services = {"one": same, "two": slower, "half": lambda rate: 0.014 * 1.5}
    folder = write_runs(tmp_path / "x", services, rates=(20, 40), seeds=(1, 2, 3))
    told = {(cell.short, cell.pair.level.offered_rps) for cell in compared(folder).compared if cell.is_shown}
    assert {("p50", 20), ("p95", 20), ("p50", 40), ("p95", 40)} <= told
    gates = parse_gates(["latency_p95_s > +5%"])
    assert [each.outcome for each in judge(compared(folder, b="half"), gates)] == ["fails", "fails"]
    assert any(line.startswith("Seeds are pooled; ") for line in footnotes(compared(folder)))


def test_servers_20_percent_apart_are_told_over_seeds_either_way_round(apart):
    lines = sentences(compared(apart, arrival="poisson"))
    assert any(line.startswith("two is slower than one at 20/s by ") and "(p95, poisson)" in line for line in lines)
    lines = sentences(compared(apart, "two", "one", arrival="poisson"))
    assert any(line.startswith("one is faster than two at 20/s by ") and "(p95, poisson)" in line for line in lines)


def test_the_interval_holds_the_true_difference_of_an_idle_server(apart):
    cells = compared(apart, arrival="ideal")
    cell = next(c for c in cells.cells if c.metric == "latency_p50_s" and c.pair.level.offered_rps == 20)
    interval = cell.interval
    assert interval.low < 20 < interval.high  # no queue at 20/s, evenly spaced: service times alone
    assert interval.high - interval.low < 15


@pytest.mark.slow
def test_intervals_widen_with_the_number_of_cells(apart):
    few, many = compared(apart, arrival="ideal"), compared(apart)
    assert len(many.compared) == 2 * len(few.compared) == 16
    assert any("All 8 intervals hold at once with 95% confidence (99.375% each)" in line for line in footnotes(few))
    narrow, wide = few.cells[0].interval, many.cells[0].interval
    assert wide.high - wide.low > narrow.high - narrow.low


def test_the_burstiness_penalty_is_an_unpaired_comparison(apart):
    comparison = compared(apart, "one@ideal", "one@poisson")
    assert {cell.difference.method for cell in comparison.compared} == {"seeds pooled"}
    assert any(
        line.startswith("one@poisson is slower than one@ideal at 40/s by") and line.endswith("(p95, ideal / poisson)")
        for line in sentences(comparison)
    )
    assert any(line.startswith("Unpaired") for line in footnotes(comparison))


def test_between_a_valid_and_a_saturated_point_nothing_is_compared(tmp_path):
    services = {"one": lambda rate: 0.01, "two": lambda rate: 0.03}
    comparison = compared(write_runs(tmp_path / "s", services, rates=(60,), seeds=(1, 2, 3)))
    assert comparison.compared == []
    assert list(sentences(comparison)) == [
        "not compared at 60/s, poisson: p50, p95, p99, throughput, goodput (two saturated (3 of 3 seeds))"
    ]


def test_throughput_of_two_saturated_points_is_compared_and_the_line_says_so(tmp_path):
    services = {"one": lambda rate: 0.02, "two": lambda rate: 0.03}
    comparison = compared(write_runs(tmp_path / "s", services, rates=(80,), seeds=(1, 2, 3)))
    assert [cell.metric for cell in comparison.compared] == ["throughput_rps"]
    told, not_told = sentences(comparison)
    assert told.startswith("two answers less than one at 80/s by 3")
    assert told.endswith("(throughput, poisson; one saturated (3 of 3 seeds); two saturated (3 of 3 seeds))")
    assert not_told.startswith("not compared at 80/s, poisson: p50, p95, p99, goodput (one saturated")
    assert any(line.startswith("Of two overloaded points the throughput is compared") for line in footnotes(comparison))


@pytest.mark.parametrize("verdict", ["contaminated", "client_limited", "failing", "failed"])
def test_points_that_say_nothing_are_left_out_counted_and_named(tmp_path, verdict):
    services = {"one": same, "two": slower}
    folder = write_runs(tmp_path / "x", services, seeds=(1, 2, 3), verdicts={("two", 2): verdict})
    comparison = compared(folder)
    assert {tuple(a.seed for a, _ in cell.pair.used) for cell in comparison.cells} == {(1, 3)}
    assert {cell.difference.seeds for cell in comparison.compared} == {2}
    assert f"left out at 40/s, poisson: two {verdict} (1 of 3 seeds)" in sentences(comparison)
    assert f"1 of 6 points left out, with the other side of their seed: 1 {verdict}." in footnotes(comparison)
    assert set(frame(comparison)["seeds"]) == {2}
    every = {(name, seed): verdict for name in services for seed in (1, 2, 3)}
    none = compared(write_runs(tmp_path / "y", services, seeds=(1, 2, 3), verdicts=every))
    assert none.compared == []
    assert list(sentences(none)) == [
        f"left out at 40/s, poisson: one {verdict} (3 of 3 seeds); two {verdict} (3 of 3 seeds)"
    ]


@pytest.mark.parametrize("verdicts", [("shedding", "valid"), ("shedding", "shedding"), ("saturated", "shedding")])
def test_latencies_of_servers_that_refuse_are_not_compared(tmp_path, verdicts):
    services = {"one": same, "two": slower}
    overruled = {(name, 1): verdict for name, verdict in zip(services, verdicts, strict=True)}
    told = [cell.metric for cell in compared(write_runs(tmp_path / "x", services, verdicts=overruled)).compared]
    assert told == ([] if "valid" in verdicts else ["throughput_rps"])


def test_points_without_their_requests_are_left_out(tmp_path):
    folder = write_runs(tmp_path / "x", {"one": same, "two": slower}, seeds=(1, 2))
    (folder / "two-poisson-40rps-seed2" / "requests.csv").unlink()
    comparison = compared(folder)
    assert {cell.difference.seeds for cell in comparison.compared} == {1}
    assert "left out at 40/s, poisson: two without its requests (1 of 2 seeds)" in sentences(comparison)


def test_throughput_of_saturated_runs_is_compared_from_one_run_each(tmp_path):
    services = {"one": lambda rate: 0.02, "two": lambda rate: 0.03}
    comparison = compared(write_runs(tmp_path / "s", services, rates=(80,)))
    throughput = next(cell for cell in comparison.cells if cell.metric == "throughput_rps")
    interval = throughput.interval
    assert interval.low < -100 / 3 < interval.high  # 50/s against 33.3/s
    assert interval.high < -25


def test_goodput_counts_answers_within_the_promise(tmp_path):
    services = {"one": lambda rate: 0.01, "two": lambda rate: 0.025}
    folder = write_runs(tmp_path / "g", services, rates=(30,), slo=Slo({"latency_s": 0.03}))
    comparison = compared(folder)
    goodput = next(cell for cell in comparison.cells if cell.metric == "goodput_rps")
    assert goodput.interval.high < -10
    assert goodput.b < goodput.a


def test_unanswered_requests_are_infinitely_late_and_the_pairing_stays(tmp_path):
    services = {"one": same, "two": same}
    folder = write_runs(
        tmp_path / "f", services, errors=0.008, duration_s=40, verdicts={(n, 1): "valid" for n in services}
    )
    run = read_runs(parse_side(f"{folder}:one"))[0]
    rows = pd.read_csv(run.paths.requests)
    failed = rows[(rows["due_s"] >= run.window.start_s) & (rows["status"] == "http_error")]
    assert np.isinf(run.requests().latencies_s).sum() == len(failed) > 5
    p50, p95, p99 = compared(folder).cells[:3]
    assert p50.difference.method == p95.difference.method == "within the runs, paired"
    assert abs(p50.difference.percent) < 15
    assert (p99.difference, p99.why_not) == (None, "it may fall among the unanswered requests")


def test_two_folders_are_matched_by_design(tmp_path):
    old = write_runs(tmp_path / "old", {"one": same, "two": same}, seeds=(1, 2, 3))
    new = write_runs(tmp_path / "new", {"one": slower, "three": same}, seeds=(2, 3, 4), noise=1)
    pairs = make_pairs(parse_side(str(old)), parse_side(str(new)))
    assert [(pair.a, pair.b, [run.seed for run, _ in pair.runs], pair.is_paired) for pair in pairs] == [
        ("one (old)", "one (new)", [2, 3], True)
    ]


def test_one_side_twice_is_a_mistake(apart):
    with pytest.raises(StudyError, match="both sides name the same points"):
        make_pairs(parse_side(str(apart)), parse_side(str(apart)))


def test_nothing_in_common_is_a_mistake(tmp_path):
    folder = write_runs(tmp_path / "a", {"one": same}, rates=(20,))
    other = write_runs(tmp_path / "b", {"one": same}, rates=(30,))
    with pytest.raises(StudyError, match="no load in common"):
        make_pairs(parse_side(str(folder)), parse_side(str(other)))


def test_two_machines_are_compared_only_when_told_to(tmp_path):
    here = write_runs(tmp_path / "here", {"one": same})
    there = write_runs(tmp_path / "there", {"one": same}, hardware="a Raspberry Pi")
    sides = parse_side(str(here)), parse_side(str(there))
    with pytest.raises(StudyError, match=r"different machines: AMD EPYC.* against a Raspberry Pi; --across-machines"):
        make_pairs(*sides)
    assert len(make_pairs(*sides, is_across_machines=True)) == 1


@pytest.mark.parametrize("seeds", [(1, 2), (1, 2, 3)])
def test_seeds_of_two_commits_are_never_pooled(tmp_path, seeds):
    mixed = write_runs(tmp_path / "mixed", {"one": same}, seeds=seeds, commits={1: "a" * 40, 2: "b" * 40, 3: "b" * 40})
    other = write_runs(tmp_path / "other", {"one": same}, seeds=seeds, commits=dict.fromkeys(seeds, "a" * 40))
    wanted = rf"mixed was measured at different commits: a{{9}} \(1 of {len(seeds)} points\), b{{9}} \("
    with pytest.raises(StudyError, match=wanted):
        make_pairs(parse_side(str(mixed)), parse_side(str(other)))


@pytest.mark.parametrize(
    ("where", "told"),
    [
        (
            {"commits": {1: "a" * 40, 2: "a" * 40}, "codes": {1: "c" * 64, 2: "d" * 64}},
            "at different commits: a{9} with",
        ),
        ({"codes": {1: "c" * 64, 2: "d" * 64}}, r"at different commits: code c+ \(2 of 4 points\)"),
        (
            {"hosts": {1: "node1", 2: "node2"}},
            r"on different machines: AMD .* \(node1\) \(2 of 4 points\), AMD .* \(node2",
        ),
    ],
    ids=["one commit, edited", "no commit", "two nodes"],
)
def test_seeds_of_two_states_of_the_code_or_two_hosts_are_never_pooled(tmp_path, where, told):
    folder = write_runs(tmp_path / "x", {"one": same, "two": slower}, seeds=(1, 2), **where)
    with pytest.raises(StudyError, match=rf"x was measured {told}"):
        compared(folder)


def test_two_commits_of_one_code_are_one(tmp_path):
    commits, codes = {1: "a" * 40, 2: "b" * 40}, dict.fromkeys((1, 2), "c" * 64)
    folder = write_runs(tmp_path / "x", {"one": same, "two": slower}, seeds=(1, 2), commits=commits, codes=codes)
    assert {cell.difference.seeds for cell in compared(folder).compared} == {2}


def test_two_hosts_of_one_kind_are_compared(tmp_path):
    old = write_runs(tmp_path / "old", {"one": same}, hosts={1: "node1"})
    new = write_runs(tmp_path / "new", {"one": slower}, hosts={1: "node2"})
    assert len(make_pairs(parse_side(str(old)), parse_side(str(new)))) == 1


def test_seeds_of_two_machines_are_never_pooled(tmp_path):
    folder = write_runs(tmp_path / "mixed", {"one": same}, seeds=(1,))
    further = write_runs(tmp_path / "further", {"one": same}, seeds=(2,), hardware="a Raspberry Pi")
    shutil.copytree(further, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("summary.csv"))
    rows = (further / "summary.csv").read_text().splitlines()[1:]
    with (folder / "summary.csv").open("a") as file:
        file.write("\n".join(rows) + "\n")
    other = write_runs(tmp_path / "other", {"one": same}, seeds=(1, 2))
    with pytest.raises(StudyError, match=r"mixed was measured on different machines: AMD .* \(1 of 2 points\), a Rasp"):
        make_pairs(parse_side(str(folder)), parse_side(str(other)), is_across_machines=True)


def test_designs_of_one_folder_and_two_commits_are_not_compared(tmp_path):
    folder = write_runs(tmp_path / "x", {"one": same, "two": same}, commits={1: "a" * 40})
    path = folder / "two-poisson-40rps-seed1" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"git_commit": "b" * 40}))
    with pytest.raises(StudyError, match=r"x was measured at different commits: a{9} .*, b{9} "):
        compared(folder)


def test_two_folders_of_two_commits_are_what_compare_is_for(tmp_path):
    old = write_runs(tmp_path / "old", {"one": same}, seeds=(1, 2), commits=dict.fromkeys((1, 2), "a" * 40))
    new = write_runs(tmp_path / "new", {"one": slower}, seeds=(1, 2), commits=dict.fromkeys((1, 2), "b" * 40))
    assert len(make_pairs(parse_side(str(old)), parse_side(str(new)))) == 1


def test_schedules_that_differ_are_not_paired(tmp_path):
    folder = write_runs(tmp_path / "x", {"one": same, "two": same}, rates=(40,))
    path = folder / "two-poisson-40rps-seed1" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schedule_sha256": "another"}))
    assert {cell.difference.method for cell in compared(folder).compared} == {"within the runs"}


def test_the_frame_has_a_row_per_cell_with_both_intervals(apart):
    comparison = compared(apart, arrival="poisson")
    table = frame(comparison)
    assert len(table) == len(comparison.cells) == 10  # goodput is a row, if no interval of its own
    first = table.iloc[0]
    assert (first["a"], first["b"], first["metric"], first["seeds"]) == ("one", "two", "latency_p50_s", 5)
    assert first["low_percent"] < first["low_alone_percent"] < first["difference_percent"]
    assert first["difference_percent"] < first["high_alone_percent"] < first["high_percent"]
    assert first["difference_percent"] == pytest.approx(100 * (first["b_value"] / first["a_value"] - 1))


def test_the_same_comparison_has_the_same_outcome(tmp_path):
    folder = write_runs(tmp_path / "x", {"one": same, "two": same}, rates=(40,))
    assert frame(compared(folder)).equals(frame(compared(folder)))


@pytest.mark.parametrize(("value", "text"), [(31.4, "31"), (4.26, "4.3"), (0.351, "0.35"), (141.6, "142")])
def test_numbers_read(value, text):
    assert number(value) == text
    assert signed(-value) == f"-{text}"
