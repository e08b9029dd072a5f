"""What the README says, against what it speaks of: the table, the links, the commands."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from typer.main import get_command

from ragbench.__main__ import application
from servers.__main__ import design_module

ROOT = Path(__file__).parents[1]
PAGES = sorted(path for path in ROOT.rglob("*.md") if not {".venv", "results", "node_modules"} & set(path.parts))
README = (ROOT / "README.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]


def table_of(summary: pd.DataFrame) -> list[str]:
    """The README's table: Poisson load at the highest rate, one line a design and batch size."""
    top = summary[(summary.arrival == "poisson") & (summary.offered_rps == summary.offered_rps.max())]
    rows = top.sort_values(["design", "max_batch_size"], na_position="first").itertuples()
    return [
        f"| {row.design} | {'' if pd.isna(row.max_batch_size) else int(row.max_batch_size)} "
        f"| {row.throughput_rps:.0f} | {row.latency_p50_s:.3f} s | {row.latency_p95_s:.3f} s "
        f"| {row.exact_match:.3f} | {row.verdict} |"
        for row in rows
    ]


def test_the_table_is_that_of_the_reference_study() -> None:
    summary = pd.read_csv(ROOT / "results" / "reference-cpu" / "summary.csv")
    lines = table_of(summary)
    assert len(lines) == 5
    assert "\n".join(lines) in README
    assert summary.hardware.iloc[0] in README
    assert f"highest rate of the study, {summary.offered_rps.max():.0f} requests/s" in README


def median(summary: pd.DataFrame, design: str, column: str, **load: float) -> float | None:
    """Over the seeds of one load; None where it was not measured."""
    rows = summary[summary.design == design]
    for name, value in load.items():
        rows = rows[rows[name] == value]
    return None if rows.empty else float(rows[column].median())


def peers_table(summary: pd.DataFrame) -> list[str]:
    """Most throughput first: with 64 users, alone, and at the middle rate."""
    rows = []
    for design in summary.design.unique():
        carried = median(summary, design, "throughput_rps", concurrency=64)
        alone = median(summary, design, "latency_p50_s", concurrency=1)
        tail = median(summary, design, "latency_p95_s", offered_rps=240)
        assert carried is not None
        assert alone is not None
        told = "" if tail is None else f"{tail * 1e3:.0f} ms"
        rows.append((carried, f"| {design} | {carried:.0f} | {alone * 1e3:.1f} ms | {told} |"))
    return [row for _, row in sorted(rows, reverse=True)]


def overhead_table(summary: pd.DataFrame) -> list[str]:
    """Most throughput first, each with its better batch size, and the share of the echo's."""
    echo = median(summary, "echo", "throughput_rps")
    assert echo is not None
    rows = []
    for design in summary.design.unique():
        sizes = [size for size in summary[summary.design == design].max_batch_size.unique() if not pd.isna(size)]
        found = [(median(summary, design, "throughput_rps", max_batch_size=size), f"{size:.0f}") for size in sizes]
        best, size = max(found or [(median(summary, design, "throughput_rps"), "")])
        assert best is not None
        rows.append((best, f"| {design} | {size} | {best:.0f} | {best / echo:.2f} |"))
    return [row for _, row in sorted(rows, reverse=True)]


@pytest.mark.parametrize(("study", "table"), [("peers", peers_table), ("overhead", overhead_table)])
def test_the_tables_of_the_peers_are_those_measured(study: str, table: Callable[[pd.DataFrame], list[str]]) -> None:
    lines = table(pd.read_csv(ROOT / "results" / f"reference-{study}" / "summary.csv"))
    assert "\n".join(lines) in README


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_server_command_has_flags_that_exist() -> None:
    starts = [shlex.split(line) for line in COMMANDS if line.startswith("python -m servers")]
    assert {words[3] for words in starts} >= {"baseline", "batched", "scaled"}
    for _, _, _, design, *flags in starts:
        names = {word[2:].replace("-", "_") for word in flags if word.startswith("--")}
        assert names <= set(design_module(design).SETTINGS.model_fields)


def test_every_ragbench_command_exists() -> None:
    used = [shlex.split(line, comments=True) for line in COMMANDS if line.startswith("ragbench")]
    assert len(used) >= 4
    for _, command, *flags in used:
        commands = get_command(application([command])).commands
        options = {option for parameter in commands[command].params for option in parameter.opts}
        assert {word for word in flags if word.startswith("--")} <= options


# Every command that the README's claims rest on, and the test that runs a short form of it from end to end.
TRUSTED = {
    "ragbench calibrate --arrivals": (
        "tests/ragbench/calibration/test_arrival_checks.py::test_the_command_prints_and_writes_the_table"
    ),
    "ragbench calibrate": "tests/ragbench/calibration/test_wire.py::test_the_command_runs_from_end_to_end",
    "ragbench capacity": "tests/ragbench/capacity/test_run.py::test_the_known_capacity_is_found_from_end_to_end",
    "ragbench simulate": "tests/ragbench/simulator/test_simulate_command.py::test_a_known_study_is_found_again",
    "ragbench chaos": "tests/ragbench/chaos/test_chaos_command.py::test_a_killed_replica_costs_no_request",
    "ragbench doctor": "tests/ragbench/machine/test_doctor.py::test_the_command_looks_at_this_machine",
    "python scripts/tables.py coverage": "tests/scripts/test_coverage_table.py::test_coverage_counts_what_is_shown",
    "python scripts/tables.py growth": "tests/scripts/test_growth_table.py::test_growth_finds_a_slow_replica",
    "python scripts/tables.py capacity": "tests/scripts/test_capacity_table.py::test_searches_find_what_is_known",
    "python scripts/tables.py power": "tests/scripts/test_power_table.py::test_equal_servers_are_rarely_told_apart",
    "python scripts/tables.py agreement": "tests/scripts/test_agreement_table.py::test_known_designs_are_predicted",
}
PROOFS = re.findall(
    r"`((?:ragbench|pytest|python) [^`]+)`", README.split("## Why the figures can be trusted")[1].split("\n## ")[0]
)


def test_every_command_that_proves_a_claim_is_run_by_a_test() -> None:
    proving = [proof for proof in PROOFS if not proof.startswith("pytest")]
    assert len(proving) >= 6
    for proof in proving:
        test = TRUSTED[max((command for command in TRUSTED if proof.startswith(command)), key=len)]
        path, _, name = test.partition("::")
        assert f"def {name}" in (ROOT / path).read_text(), f"{test} runs {proof}"


def test_every_test_that_proves_a_claim_is_there() -> None:
    proving = [shlex.split(proof) for proof in PROOFS if proof.startswith("pytest")]
    assert len(proving) >= 3
    for _, path, *only in proving:
        names = re.findall(r"def (test_\w+)", (ROOT / path).read_text())
        words = only[1].split(" or ") if only else [""]
        assert all(any(word in name for name in names) for word in words)


def test_how_batched_and_mosec_compare_is_as_measured() -> None:
    summary = pd.read_csv(ROOT / "results" / "reference-peers" / "summary.csv")
    peers = summary[~summary.design.isin(["batched", "baseline"])]
    said = []
    for users in (1, 8, 32, 64):
        ours = median(summary, "batched", "throughput_rps", concurrency=users)
        theirs = peers[peers.concurrency == users].groupby("design").throughput_rps.median()
        assert ours is not None
        said.append(f"{ours / theirs.max():.2f} ({theirs.idxmax()}) with {users}")
    page = " ".join(README.split())
    assert f"carried by the best of them: {', '.join(said)} users" in page
    tails = peers[peers.offered_rps == 240].groupby("design").latency_p95_s.median()
    tail = median(summary, "batched", "latency_p95_s", offered_rps=240)
    assert tail is not None
    assert f"p95 is {tail / tails.min():.2f} of the best of theirs" in page
    counts = summary.verdict.value_counts()
    assert f"Of {len(summary)} points {counts['valid']} are valid" in page
