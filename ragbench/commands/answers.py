"""`ragbench answers`: whether all designs of a measured study said the same."""

from typing import Annotated

import typer
from rich.table import Table

from ragbench.answers import Told, compare_answers
from ragbench.commands.common import FolderArgument, results_folder, terminal
from ragbench.config import StudyError
from ragbench.records import Row, read_manifests, read_rows, write_atomic
from ragbench.simulator.replay import design_name


def answers(
    folder: FolderArgument,
    reference: Annotated[str | None, typer.Option(help="The variant that the others are compared to.")] = None,
) -> None:
    """Print a checksum of the answers of each design of FOLDER to the same questions; exit 1 where any differ."""
    paths = results_folder(folder)
    designs: dict[str, list[Row]] = {}
    for manifest in sorted(read_manifests(paths.root), key=lambda one: one["point"]["variant"] != reference):
        name = design_name(manifest["point"])
        designs.setdefault(name, []).extend(read_rows(paths.point(manifest["point"]["name"]).requests))
    if reference is not None and not next(iter(designs)).startswith(reference):
        raise StudyError([f"--reference: no variant {reference!r} in {paths.root}; there: {', '.join(designs)}"])
    told = compare_answers(designs)
    if told[0].questions == 0:
        raise StudyError([f"{paths.root}: there is no question that every design answered"])
    terminal.print(_table(told))
    write_atomic(paths.root / "answers.csv", _csv(told))
    terminal.print(f"table: {paths.root / 'answers.csv'}", soft_wrap=True)
    if any(one.different or one.unsteady for one in told):
        raise typer.Exit(1)


def _table(told: list[Told]) -> Table:
    table = Table("design", title=f"answers to the {told[0].questions} questions that all answered")
    for column in ("different", "unsteady"):
        table.add_column(column, justify="right")
    table.add_column("sha256")
    for one in told:
        style = None if not (one.different or one.unsteady) else "yellow"
        table.add_row(one.design, str(one.different), str(one.unsteady), one.sha256[:16], style=style)
    return table


def _csv(told: list[Told]) -> str:
    lines = ["design,questions,different,unsteady,sha256"]
    lines += [f"{one.design},{one.questions},{one.different},{one.unsteady},{one.sha256}" for one in told]
    return "\n".join(lines) + "\n"
