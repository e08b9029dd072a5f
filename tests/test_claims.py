"""What the README claims of the harness and of its statistics, against the committed tables that it speaks of."""

from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
MEASURING = " ".join((ROOT / "docs" / "measuring.md").read_text().split())


def table(name: str) -> pd.DataFrame:
    return pd.read_csv(ROOT / "results" / f"reference-{name}.csv")


def test_the_load_named_is_the_load_sent() -> None:
    rates = table("calibration/rates")
    first = rates.iloc[0]
    assert (first.processes, first.asked_rps) == (1, 500)
    told = f"500/s, evenly spaced: sent {first.sent_rps:.2f}/s, coefficient of variation of the gaps {first.gap_cv:.3f}"
    assert f"{told}, send lag p99 {first.send_lag_p99_s * 1e3:.2f} ms" in README
    alone = rates[rates.processes == 1]
    clean = alone[(alone.verdict == "valid").cummin()].asked_rps.max()
    assert f"clean up to {clean:,}/s" in README


def test_the_latencies_of_queues_are_known() -> None:
    queues = table("calibration/queues")
    off = (queues.mean_s / queues.mean_theory_s - 1).abs().max()
    assert f"means at most {off:.1%} off" in README
    told = queues.dropna(subset=["mean_low_s"])
    held = ((told.mean_low_s <= told.mean_theory_s) & (told.mean_theory_s <= told.mean_high_s)).sum()
    numbers = dict(enumerate(("none", "one", "two", "three", "four", "five", "six")))
    assert f"theory inside the 95% interval of {numbers[held]} of the {numbers[len(told)]} that have one" in README


def test_a_stall_is_seen() -> None:
    stall = table("calibration/stall").set_index("loop")
    seen, by_arithmetic = stall.latency_p99_s["open"], stall.expected_p99_s["open"]
    told = f"p99 {seen:.3f} s in open loop ({by_arithmetic:.3f} s by arithmetic)"
    assert f"{told}, {stall.latency_p99_s['closed']:.3f} s in closed loop" in README
    for loop, row in stall.iterrows():
        found = [f"{row[name]:.3f} s" for name in ("latency_p50_s", "latency_p95_s", "latency_p99_s")]
        assert f" | {row.requests:,.0f} | {' | '.join(found)} |" in MEASURING, loop
    assert f"One request of {stall.requests['closed']:,.0f} met" in MEASURING


def test_intervals_hold() -> None:
    cells = table("statistics/coverage")
    most, few = cells[cells.shown > cells.runs / 2], cells[(cells.shown > 0) & (cells.shown <= cells.runs / 2)]
    assert f"in {len(most)} of {len(cells)} cells most of 400 runs have one, and at least 90% of these hold" in README
    assert most.coverage.min() >= 0.9
    share, held = (few.shown / few.runs).max(), few.held.sum() / few.shown.sum()
    assert f"in {len(few)} cells up to {share:.0%} of the runs" in README
    assert f"[{held:.0%} hold]" in README
    assert f"{(cells.shown == 0).sum()} cells are empty" in README


def test_growth_is_found_and_hardly_ever_imagined() -> None:
    rows = table("statistics/growth")
    falsely = (rows.after * rows.runs).round()[rows.load < 1].max()
    assert falsely == 1
    assert "at 60 to 95% load: at most 1 run of 300" in README
    slow = rows[(rows.queue == "one slow replica of three") & (rows.load == 1.5) & (rows.requests >= 1000)].after
    assert f"{slow.min() * 100:.0f} to {slow.max():.0%} found from 1,000 requests" in README


def test_capacities_are_found() -> None:
    queues = table("statistics/capacity")
    assert f"mean within {queues.mean_off.abs().max():.1%} of the truth" in README
    assert f"the bracket holds it in {queues.bracket_holds.min()} to {queues.bracket_holds.max()}" in README
    assert set(queues.searches) == {20}
    assert f"{queues.resolved.min()} to {queues.resolved.max()} of them are `resolved`" in README


def test_a_known_capacity_is_found() -> None:
    (found,) = table("known/capacity").itertuples()
    told = f"{found.capacity_rps:.1f}/s](results/reference-known/capacity.csv) ({found.low_rps:.1f} to"
    assert f"a server of 100/s: [{told} {found.high_rps:.1f}), resolved after {found.probes} loads of 15 s" in README
    assert found.low_rps <= 100 <= found.high_rps
    assert found.resolved


def test_differences_are_shown_and_hardly_ever_imagined() -> None:
    rows = table("statistics/power")
    equal = rows[rows.servers == "equal"]
    assert f"of 200 pairs of equal servers at most {equal['any'].max():.1%} read a difference" in README
    assert set(equal.repeats) == {200}
    starts = rows[rows.servers == "equal, starts differ by 5%"].set_index("seeds")["any"]
    told = f"one seed tells {starts[1]:.0%} of the comparisons apart in some cell, three seeds {starts[3]:.0%}, five"
    assert f"{told} {starts[5]:.0%}." in MEASURING
    apart = rows[(rows.servers == "20% apart") & (rows.seeds >= 3)].shown
    assert f"{apart.min() * 100:.0f} to {apart.max():.0%} of the cells show it from three seeds on" in README


def test_more_seeds_never_show_less() -> None:
    rows = table("statistics/power")
    for _, by_seeds in rows[rows.servers == "20% apart"].sort_values("seeds").groupby("rates"):
        assert by_seeds.shown.is_monotonic_increasing


def test_the_simulators_agreement() -> None:
    rows = table("statistics/agreement")
    loads = rows[(rows.source == "reference-cpu") & rows.is_judged]
    agreed, count = loads.agrees.sum(), len(loads)
    p50_off, p95_off = loads.p50_off.abs().mean(), loads.p95_off.abs().mean()
    assert f"within 15% of measured at {agreed} of {count} loads below 80%" in README
    assert f"mean errors {p50_off:.1%} and {p95_off:.1%} ([what" in README
    assert f"{agreed} of {count} agree; the mean errors" in MEASURING
    assert f"the mean errors are {p50_off:.1%} (p50) and {p95_off:.1%} (p95)" in MEASURING
    assert f"between {loads.speed.min():.2f} and {loads.speed.max():.2f} at the judged loads" in MEASURING
    most = rows[(rows.source == "reference-cpu") & (rows.offered_rps == rows.offered_rps.max())]
    times = most.simulated_p50_s / most.latency_p50_s
    assert f"came out at up to {times.max():.0f} times the measured p50, or at a fifth" in MEASURING
    assert times.min() == pytest.approx(0.2, abs=0.05)


def test_what_each_design_carries_is_that_of_the_committed_search() -> None:
    found = table("capacity/capacity")
    told = [f"{row.capacity_rps:.0f} ({row.low_rps:.0f} to {row.high_rps:.0f})" for row in found.itertuples()]
    assert f"{', '.join(told[:-1])} and {told[-1]} requests/s" in " ".join(README.split())
    assert ("no search was resolved" in " ".join(README.split())) == (not found.resolved.any())
