"""`ragbench compare`: two servers on the same loads, in words, as a table, and as a gate for CI."""

import json
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from ragbench.cli.common import say, terminal
from ragbench.cli.console import Columns, table_of
from ragbench.compare.cells import Comparison, frame
from ragbench.compare.cells import compare as compared
from ragbench.compare.crossover import crossovers
from ragbench.compare.gate import Gate, judge, parse_gates
from ragbench.compare.pairs import make_pairs
from ragbench.compare.sides import parse_side
from ragbench.compare.wording import footnotes, sentences, signed, span
from ragbench.files.csv_table import write_table
from ragbench.files.toml_tables import StudyError
from ragbench.results.records import write_atomic
from ragbench.terminal import Table

SideArgument = Annotated[
    str, typer.Argument(metavar="FOLDER[:CONFIGURATION[@ARRIVAL]]", help="As in results/smoke:batched.")
]


def compare(
    a: SideArgument,
    b: SideArgument,
    arrival: Annotated[str | None, typer.Option(help="Only loads of this arrival.")] = None,
    fail_if: Annotated[
        list[str] | None, typer.Option(metavar="'FIGURE > +N%'", help="Exit 1 where this is shown; repeatable.")
    ] = None,
    across_machines: Annotated[bool, typer.Option("--across-machines", help="Compare machines as well.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else on stdout.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the table here: .csv, or .json.")] = None,
) -> None:
    """How the second side differs from the first at each load both have, with intervals."""
    gates = parse_gates(fail_if or [])
    if out is not None and out.suffix not in (".csv", ".json"):
        raise StudyError([f"--out must end in .csv or .json, got {out}"])
    pairs = make_pairs(parse_side(a), parse_side(b), arrival=arrival, is_across_machines=across_machines)
    comparison = compared(pairs)
    table = frame(comparison)
    if out is not None:
        write_atomic(out, _as_csv(table) if out.suffix == ".csv" else as_text(table))
    if as_json:
        print(as_text(table), end="")
    else:
        _print(comparison)
    if out is not None:
        say(f"table: {out}")
    if _is_failed(comparison, gates):
        raise typer.Exit(1)


def _as_csv(table: pd.DataFrame) -> str:
    rows = table.astype(object).where(table.notna(), None)
    exact = ([repr(x) if isinstance(x, float) else x for x in row] for row in rows.itertuples(index=False))
    return write_table(list(table.columns), exact)


def as_text(table: pd.DataFrame) -> str:
    """The table as JSON, a record a row; absent cells are null."""
    return json.dumps(json.loads(table.to_json(orient="records", double_precision=9)), indent=2) + "\n"


def _print(comparison: Comparison) -> None:
    terminal.print(_table(comparison))
    for line in [*sentences(comparison), *map(str, crossovers(comparison)), *footnotes(comparison)]:
        terminal.print_line(line)


def _table(comparison: Comparison) -> Table:
    title = f"b against a, {len(comparison.compared)} of {len(comparison.cells)} cells compared"
    columns: Columns = [
        *("pair.a", "pair.b", "pair.load", "metric", ("a's", lambda cell: cell.a), ("b's", lambda cell: cell.b)),
        ("difference", lambda cell: cell.difference and f"{signed(cell.difference.percent)}%"),
        ("interval, all at once", lambda cell: cell.interval and span(cell.interval)),
        ("shown", lambda cell: cell.is_shown if cell.difference and cell.interval else f"not compared: {cell.why_not}"),
    ]
    return table_of(columns, comparison.cells, title=title)


def _is_failed(comparison: Comparison, gates: list[Gate]) -> bool:
    """Print the outcome of each gate. -> whether any failed."""
    judged = judge(comparison, gates)
    for verdict in judged:
        pair = verdict.cell.pair
        say(f"{verdict.outcome}: {verdict.gate} {pair.load} ({pair.b} against {pair.a}): {verdict.reason}")
    return any(verdict.outcome == "fails" for verdict in judged)
