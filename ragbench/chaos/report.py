"""The table of the scenarios, on the terminal and as chaos.csv and chaos.md. Computes nothing."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from ragbench.chaos.outcome import Tally
from ragbench.files.csv_table import write_table
from ragbench.results.records import write_atomic
from ragbench.terminal import Table, right

COLUMNS = tuple(field.name for field in fields(Tally))[:-3]


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Hardware, code and command of the rows."""

    hardware: str
    commit: str
    command: str
    fleet: Sequence[str]
    capacity_rps: float | None
    duration_s: float

    def __str__(self) -> str:
        capacity = "" if self.capacity_rps is None else f"; capacity {self.capacity_rps:.0f} requests/s"
        return f"{self.hardware}; commit {self.commit}{capacity}; {self.duration_s:g} s a scenario"


def chaos_table(tallies: Sequence[Tally], *, title: str = "chaos") -> Table:
    """A row a scenario."""
    table = Table(COLUMNS[0], *right(*COLUMNS[1:]), title=title)
    for tally in tallies:
        table.add_row(*cells(tally))
    return table


def lines(tally: Tally) -> list[str]:
    """What has no column: the figures of this scenario alone, failures, notes."""
    figures = ", ".join(f"{name} {_cell(value)}" for name, value in tally.figures.items())
    return [*([figures] if figures else []), *tally.failures, *tally.notes]


def write(folder: Path, name: str, tallies: Sequence[Tally], about: Circumstances) -> None:
    """Replace NAME.csv and NAME.md, each atomically."""
    write_atomic(folder / f"{name}.csv", chaos_csv(tallies))
    write_atomic(folder / f"{name}.md", chaos_md(tallies, about))


def chaos_csv(tallies: Sequence[Tally]) -> str:
    """The rows; an absent value is an empty cell."""
    return write_table(COLUMNS, ([text or None for text in cells(tally)] for tally in tallies))


def chaos_md(tallies: Sequence[Tally], about: Circumstances) -> str:
    """The rows as a Markdown table, then what has no column, then how to repeat the run."""
    rows = [COLUMNS, ["---"] * len(COLUMNS), *(cells(tally) for tally in tallies)]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    rest = "\n".join(f"- {tally.scenario}: {line}" for tally in tallies for line in lines(tally))
    return f"# Chaos\n\n{table}\n\n{rest}\n\n{about}.\nFleet: `{shlex.join(about.fleet)}`. By `{about.command}`.\n"


def cells(tally: Tally) -> list[str]:
    """The columns as text."""
    return [_cell(getattr(tally, column)) for column in COLUMNS]


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
