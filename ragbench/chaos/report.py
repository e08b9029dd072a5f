"""The table of the scenarios, on the terminal and as chaos.csv and chaos.md. Computes nothing."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from ragbench.chaos.outcome import Tally
from ragbench.files.csv_table import cell, write_table
from ragbench.results.records import write_atomic
from ragbench.terminal import Table, right

COLUMNS = tuple(field.name for field in fields(Tally))[:-3]


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


def write(folder: Path, name: str, tallies: Sequence[Tally], about: str) -> None:
    """Replace NAME.csv and NAME.md, each atomically. An absent value is an empty cell."""
    rows = [cells(tally) for tally in tallies]
    write_atomic(folder / f"{name}.csv", write_table(COLUMNS, ([text or None for text in row] for row in rows)))
    table = "\n".join(f"| {' | '.join(row)} |" for row in [COLUMNS, ["---"] * len(COLUMNS), *rows])
    rest = "\n".join(f"- {tally.scenario}: {line}" for tally in tallies for line in lines(tally))
    write_atomic(folder / f"{name}.md", f"# Chaos\n\n{table}\n\n{rest}\n\n{about}\n")


def cells(tally: Tally) -> list[str]:
    """The columns as text."""
    return [_cell(getattr(tally, column)) for column in COLUMNS]


def _cell(value: object) -> str:
    return cell(round(value, 2) if isinstance(value, float) else value)
