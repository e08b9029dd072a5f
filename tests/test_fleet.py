"""The tables of docs/fleet.md and the README's of the fleet, against the studies that they are made from."""

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
PAGES = {"chaos": "README.md", "peers": "README.md"}


def read(study: str, file: str = "summary.csv") -> pd.DataFrame:
    return pd.read_csv(ROOT / "results" / f"reference-{study}" / file)


def told(value: float, form: str = "{:.0f}") -> str:
    return "" if pd.isna(value) else form.format(value)


def chaos() -> list[str]:
    """A row a scenario."""
    columns = ["sent", "answered", "rejected", "retried", "lost", "duplicated", "late"]
    return [
        f"| {row['scenario']} | {' | '.join(told(row[name]) for name in columns)} "
        f"| {told(row['recovery_s'], '{:.1f}')} | {told(row['orphans'])} |"
        for _, row in read("chaos", "chaos.csv").iterrows()
    ]


def behind_haproxy() -> list[str]:
    """A row a scenario; a cell has our balancer's figure, where it had that scenario, and HAProxy's."""
    columns = ["sent", "answered", "rejected", "retried", "lost", "duplicated", "late", "recovery_s"]
    ours = read("chaos", "chaos.csv").set_index("scenario")
    rows = []
    for scenario, behind in read("chaos-haproxy", "chaos.csv").set_index("scenario").iterrows():
        cells = []
        for name in columns:
            form = "{:.1f}" if name == "recovery_s" else "{:.0f}"
            before = told(ours.at[scenario, name], form) if scenario in ours.index else ""
            cells.append(f"{before} / {told(behind[name], form)}".strip())
        rows.append(f"| {scenario} | {' | '.join(cells)} |")
    return rows


def peers() -> list[str]:
    """A row a framework."""
    return [
        f"| {row['scenario']} | {row['sent']} | {row['answered']} | {row['rejected']} | {row['lost']} "
        f"| {told(row['recovery_s'], '{:.1f}')} | {row['orphans']} |"
        for _, row in read("chaos", "peers.csv").iterrows()
    ]


def scaling() -> list[str]:
    """A row an arrival and a rule."""
    summary = read("scaling").sort_values(["arrival", "design"])
    return [
        f"| {row.arrival.split(':')[0]} | {row.design} | {row.attainment:.1%} | {row.latency_p95_s:.2f} s "
        f"| {row.replica_s_per_1000_good:.0f} | {told(row.reaction_s, '{:.1f} s')} "
        f"| {told(row.capacity_s, '{:.1f} s')} | {row.reversals_per_min:.1f} |"
        for row in summary.itertuples()
    ]


def routing() -> list[str]:
    """A row a policy: medians over the seeds, at each rate."""
    summary = read("routing")
    rows = []
    for policy in ("round_robin", "least_outstanding", "power_of_two", "least_work"):
        mine = summary[summary.routing == policy]
        cells = []
        for _, at_rate in mine.groupby("offered_rps"):
            medians = at_rate[["latency_p50_s", "latency_p99_s"]].median()
            cells += [f"{seconds * 1e3:.0f} ms" for seconds in medians]
        rows.append(f"| {policy} | {' | '.join(cells)} |")
    return rows


def balancer() -> list[str]:
    """A row a load: medians over the seeds, asked directly and through a balancer."""
    summary = read("balancer")
    rows = []
    for by, form in (("concurrency", "users: {:.0f}"), ("offered_rps", "{:.0f}/s")):
        for load, mine in summary.dropna(subset=[by]).groupby(by):
            found = mine.groupby("design")[["throughput_rps", "latency_p50_s"]].median()
            direct, through = found.loc["batched"], found.loc["scaled"]
            ratio = through.throughput_rps / direct.throughput_rps
            more_ms = (through.latency_p50_s - direct.latency_p50_s) * 1e3
            rows.append(
                f"| {form.format(load)} | {direct.throughput_rps:.0f} | {through.throughput_rps:.0f} | {ratio:.2f} "
                f"| {direct.latency_p50_s * 1e3:.1f} ms | {through.latency_p50_s * 1e3:.1f} ms | {more_ms:+.1f} ms |"
            )
    return rows


def overload() -> list[str]:
    """A row a design and rate: goodput, and as a share of the design's best; of p99 the lowest and highest seed's."""
    summary = read("overload")
    rows = []
    for design, mine in summary.groupby("design", sort=False):
        at = mine.groupby("offered_rps")
        found = at[["goodput_rps", "rejected", "requests"]].mean()
        for rate, row in found.iterrows():
            share, refused = row.goodput_rps / found.goodput_rps.max(), row.rejected / row.requests
            tails = at.get_group(rate)["latency_p99_s"]
            tail = "" if tails.isna().any() else f"{tails.min():.2f} to {tails.max():.2f} s"
            rows.append(f"| {design} | {rate:.0f} | {row.goodput_rps:.0f} | {share:.2f} | {refused:.0%} | {tail} |")
    return rows


TABLES = [chaos, behind_haproxy, peers, scaling, routing, balancer, overload]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
def test_the_tables_are_those_measured(table: Callable[[], list[str]]) -> None:
    lines = table()
    assert lines
    page = (ROOT / PAGES.get(table.__name__, "docs/fleet.md")).read_text()
    assert "\n".join(lines) in page


def test_what_is_said_of_the_verdicts_is_so() -> None:
    """Beside the tables of routing and of overload."""
    page = " ".join((ROOT / "docs" / "fleet.md").read_text().split())
    routed = read("routing")
    others = routed[routed.routing != "round_robin"]
    assert set(others.verdict) == {"valid"}
    assert "The three others are `valid` at both rates" in page
    in_turn = routed[routed.routing == "round_robin"]
    grown = (in_turn.verdict == "saturated").groupby(in_turn.offered_rps).sum()
    assert grown.to_dict() == {180: 2, 250: 3}
    assert "`round_robin` is `saturated` in three of three runs at 250/s and two of three at 180/s" in page
    loaded = read("overload")
    assert len(loaded) == 24
    assert (loaded.goodput_rps == loaded.throughput_rps).all()
    assert "goodput is throughput in each of the 24 points" in page
    counts = loaded.verdict.value_counts()
    assert f"{counts['valid']} points are valid, {counts['shedding']} are shedding" in page


def figures(scenario: str) -> dict[str, float]:
    """What chaos.md tells of a scenario besides its row."""
    page = (ROOT / "results" / "reference-chaos" / "chaos.md").read_text()
    (line,) = re.findall(rf"^- {scenario}: (send_lag_p99_ms .*)$", page, re.MULTILINE)
    return {name: float(value) for name, value in (pair.split(" ") for pair in line.split(", "))}


def test_what_is_said_of_broken_parts_is_so() -> None:
    rows, page = read("chaos", "chaos.csv"), " ".join((ROOT / "README.md").read_text().split())
    counts = f"{len(rows)} faults under load: {rows.lost.sum()} lost, {rows['duplicated'].sum():.0f} answered twice"
    assert f"{counts}, felt for at most {rows.recovery_s.max():.1f} s" in page
    stopped, fails, ends = (figures(name) for name in ("engine_stopped", "engine_fails", "batcher_ends"))
    assert (
        f"left alone after {stopped['ejected_s']:.1f} s and its successor ready {stopped['successor_s']:.1f} s" in page
    )
    assert f"every run after {fails['ejected_s']:.2f} s, its successor {fails['successor_s']:.1f} s later" in page
    assert f"a batcher that ends {ends['ejected_s']:.2f} s and {ends['successor_s']:.1f} s" in page
    for bad in (stopped, fails, ends):
        assert bad["ejected_s"] <= 10
        assert bad["successor_s"] <= 1.5 * bad["start_s"], "beside the load, a start takes somewhat longer"
    poison, overload = figures("poison"), figures("overload")
    assert f"Of the 100 poisoned questions {poison['poisoned_500']:.0f} were answered 500" in page
    assert (poison["poisoned_500"], poison["replicas_ended"]) == (100, 0)
    assert f"there {overload['goodput_share_of_capacity']:.2f} of the capacity was answered" in page
    assert f"the 99th percentile of the refusals took {overload['rejection_p99_ms']:.0f} ms" in page


def test_what_is_said_of_broken_parts_behind_haproxy_is_so() -> None:
    columns = ["sent", "rejected", "lost", "duplicated", "late"]
    rows = read("chaos-haproxy", "chaos.csv").set_index("scenario")[columns].astype(int)
    page = " ".join((ROOT / "docs" / "fleet.md").read_text().split())
    harmless = ["kill", "stop", "engine_stopped", "engine_fails", "batcher_ends", "never_ready", "disk_full"]
    assert rows.loc[harmless, "lost"].sum() == rows["duplicated"].sum() == 0
    garbage, crowd, users = rows.loc["garbage"], rows.loc["descriptors"], rows.loc["many_users"]
    assert f"**garbage** loses {garbage.lost} of {garbage.sent:,}" in page
    assert f"{crowd.rejected:,} were refused, {crowd.lost} broke off" in page
    assert f"{users.lost} waited the ten" in page
    assert f"{rows.loc['slow'].late} requests were late" in page
    assert f"{rows.loc['balancer'].rejected} were refused with `Retry-After`" in page
    front = rows.loc["front"]
    assert f"{front.rejected} refused and {front.lost} broken off" in page
