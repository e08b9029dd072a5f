"""The tables of docs/serving.md, against the studies that they are made from."""

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
SERVING = (ROOT / "docs" / "serving.md").read_text()
POLICIES = ["late_binding", "length_aware", "size_or_age", "fixed_window"]


def limit(results: Path) -> list[str]:
    """Medians over the turns, and their ratio."""
    turns = pd.read_csv(results / "limit.csv")
    rows = []
    for (design, users), mine in turns.groupby(["configuration", "users"], sort=False):
        alone, served = mine.bare_rps.median(), mine.served_rps.median()
        size = mine.max_batch_size.iloc[0]
        rows.append(f"| {design} | {size} | {users} | {alone:.4g} | {served:.4g} | {served / alone:.3f} |")
    return rows


def policies(results: Path) -> list[str]:
    """A row a load: requests/s of users or p95 of arrivals by policy, and by what share the first is behind."""
    summary = pd.read_csv(results / "summary.csv")
    rows = []
    for column, by, form, best in (
        ("throughput_rps", "concurrency", "{:.0f}/s", max),
        ("latency_p95_s", "offered_rps", "{:.1f} ms", min),
    ):
        for load, mine in summary.dropna(subset=[by]).groupby(by):
            found = mine.groupby("policy")[column].median()
            cells = [form.format(found[policy] * (1e3 if by == "offered_rps" else 1)) for policy in POLICIES]
            behind = abs(found["late_binding"] / best(found) - 1)
            name = f"{load:.0f} users" if by == "concurrency" else f"{load:.0f}/s"
            rows.append(f"| {name} | {' | '.join(cells)} | {behind:.0%} |")
    return rows


def policies_costs(results: Path) -> list[str]:
    """A row a shape and load: ratios of throughput and p95 with their intervals."""
    rows = []
    for one in pd.read_csv(results / "costs.csv").itertuples():
        rate = f"{one.throughput_rps_ratio:.2f} ({one.throughput_rps_low:.2f} to {one.throughput_rps_high:.2f})"
        tail = f"{one.latency_p95_ms_ratio:.2f} ({one.latency_p95_ms_low:.2f} to {one.latency_p95_ms_high:.2f})"
        rows.append(f"| {one.shape} | {one.a_ms:.1f} + {one.b_ms:.1f} n ms | {one.load} | {rate} | {tail} |")
    return rows


def mixed(results: Path) -> list[str]:
    """A row a load: requests/s, median and 95th percentile of both ways of cutting, and the gain."""
    summary = pd.read_csv(results / "summary.csv")
    summary["load"] = summary.offered_rps.map("{:.0f}/s".format).where(summary.concurrency.isna(), "64 users")
    rows = []
    for load, mine in summary.groupby("load", sort=True):
        figures = mine.groupby("policy")[["throughput_rps", "latency_p50_s", "latency_p95_s"]].median()
        for policy in ("late_binding", "length_aware"):
            carried, middle, tail = figures.loc[policy]
            rows.append(f"| {load} | {policy} | {carried:.0f} | {middle * 1e3:.0f} ms | {tail * 1e3:.0f} ms |")
    return rows


def invariance(results: Path) -> list[str]:
    """A row a design."""
    told = pd.read_csv(results / "answers.csv")
    return [f"| {one.configuration} | {one.different} | `{one.sha256[:16]}` |" for one in told.itertuples()]


def budget(results: Path) -> list[str]:
    """A row a part of the front: us a request of both designs, the dearest of `batched` first."""
    dear = [read_budget(results, server).dropna(subset=["share"]).set_index("part") for server in ("batched", "scaled")]
    parts = dict.fromkeys([*dear[0].index, *dear[1].index])
    return [f"| {part} | {' | '.join(_mean_and_range(each, part) for each in dear)} |" for part in parts]


def budget_processes(results: Path) -> list[str]:
    """A row a process of each server: user, kernel and whole us a request."""
    rows = []
    for server in ("batched", "scaled", "mosec", "litserve"):
        table = read_budget(results, server)
        for name, mine in table[table.share.isna()].groupby("process", sort=False):
            each = mine.set_index("part")
            user, kernel, whole = each.us["user"], each.us["kernel"], _mean_and_range(each, "whole")
            if each.us["whole"] >= 0.05:
                rows.append(f"| {server} | {name} | {user:.1f} | {kernel:.1f} | {whole} |")
    return rows


def allocator(results: Path) -> list[str]:
    """A row a server and a way: medians over the turns of requests/s and CPU us a request, and memory after a time."""
    speed = pd.read_csv(results / "speed.csv").groupby(["server", "memory"], sort=False).median(numeric_only=True)
    memory = pd.read_csv(results / "memory.csv").set_index(["server", "memory", "minutes"]).mib
    return [
        f"| {server} | {way} | {row.answered_rps:.0f} | {row.user_us:.0f} | {row.kernel_us:.0f} "
        f"| {memory[server, way, 10]:.0f} | {memory[server, way, 60]:.0f} |"
        for (server, way), row in speed.iterrows()
    ]


def read_budget(results: Path, server: str) -> pd.DataFrame:
    return pd.read_csv(results / f"{server}.csv")


def _mean_and_range(rows: pd.DataFrame, part: str) -> str:
    if part not in rows.index:
        return "-"
    row = rows.loc[part]
    return f"{row.us:.1f} ({row.low_us:.1f} to {row.high_us:.1f})"


def test_the_budget_says_what_each_part_buys() -> None:
    parts = read_budget(ROOT / "results" / "reference-budget", "batched").dropna(subset=["share"])
    parts = pd.concat([parts, read_budget(ROOT / "results" / "reference-budget", "scaled").dropna(subset=["share"])])
    assert set(parts.part) <= set(re.findall(r"^- \*\*([a-zA-Z ]+)\*\*: ", SERVING, re.MULTILINE))


@pytest.mark.parametrize("server", ["batched", "scaled"])
def test_the_parts_of_the_budget_are_its_whole(server: str) -> None:
    table = read_budget(ROOT / "results" / "reference-budget", server)
    (whole,) = table[(table.process == "front") & (table.part == "whole")].us
    assert table.us[table.share.notna()].sum() == pytest.approx(whole, rel=1e-3)


@pytest.mark.parametrize(
    "table",
    [limit, policies, policies_costs, mixed, invariance, budget, budget_processes, allocator],
    ids=lambda table: table.__name__,
)
def test_the_tables_are_those_measured(table: Callable[[Path], list[str]]) -> None:
    lines = table(ROOT / "results" / f"reference-{table.__name__.removesuffix('_processes').replace('_', '-')}")
    assert lines
    assert "\n".join(lines) in SERVING
