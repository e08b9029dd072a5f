"""`ragbench doctor`: whether this machine can give figures to be trusted, and what to do where it cannot."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Annotated

import typer

from ragbench.cli.common import ResultsOption, terminal
from ragbench.cli.console import table_of
from ragbench.files.csv_table import write_table
from ragbench.files.schema import schema_of
from ragbench.machine.doctor import Finding
from ragbench.machine.environment import checks
from ragbench.results.records import write_atomic
from ragbench.retrieval.study_file import StudyFile as RetrievalFile
from ragbench.simulator.scenario import Scenario
from ragbench.study.study_file import StudyFile
from ragbench.terminal import Status, Table


def doctor(
    results: ResultsOption = Path("results"),
    out: Annotated[Path | None, typer.Option(help="A CSV file for the table.")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print a JSON schema of studies, for editors.")] = False,
) -> None:
    """Check the machine and the installation, and say what to do about each fault. Exit code 1: something fails."""
    if schema:
        print(json.dumps(schema_of({"grids": RetrievalFile, "phases": Scenario}, otherwise=StudyFile), indent=2))
        return
    todo = checks(results)
    findings = [check() for check in Status("looking", total=len(todo)).over(todo)]
    if out is not None:
        write_atomic(out, _csv(findings))
    terminal.print(_table(findings))
    if any(finding.status == "fail" for finding in findings):
        raise typer.Exit(1)


def _table(findings: Sequence[Finding]) -> Table:
    counts = Counter(finding.status for finding in findings)
    title = "ragbench doctor: " + ", ".join(f"{n} {status}" for status, n in counts.items())
    return table_of(("name", "status", "seen", "advice"), findings, title=title)


def _csv(findings: Sequence[Finding]) -> str:
    rows = ([value or None for value in astuple(finding)] for finding in findings)
    return write_table(("check", "status", "seen", "advice"), rows)
