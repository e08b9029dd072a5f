"""`ragbench report --answers`: whether all designs of a measured study said the same."""

import typer

from ragbench.cli.common import terminal
from ragbench.compare.answers import ANSWERS, DesignAnswers, compare_answers
from ragbench.files.toml_tables import StudyError
from ragbench.results.paths import StudyPaths
from ragbench.results.records import REQUESTS, Row, read_manifests, write_atomic
from ragbench.study.points import configuration_label
from ragbench.terminal import Table, right


def compare(paths: StudyPaths, *, reference: str | None) -> None:
    """Print a checksum of the answers of each design to the same questions; exit 1 where any differ."""
    points = [manifest["point"] for manifest in read_manifests(paths.root)]
    designs = dict.fromkeys(point["design"] for point in points)
    if reference is not None and reference not in designs:
        raise StudyError([f"--reference: no design {reference!r} in {paths.root}; there: {', '.join(designs)}"])
    rows: dict[str, list[Row]] = {}
    for point in sorted(points, key=lambda point: point["design"] != reference):
        rows.setdefault(configuration_label(point), []).extend(REQUESTS.read(paths.point(point["name"]).requests))
    told = compare_answers(rows)
    if told[0].questions == 0:
        raise StudyError([f"{paths.root}: there is no question that every design answered"])
    write_atomic(paths.root / "answers.csv", ANSWERS.text(told))
    terminal.print(_table(told))
    terminal.print(f"table: {paths.root / 'answers.csv'}", soft_wrap=True)
    if any(one.different or one.unsteady for one in told):
        raise typer.Exit(1)


def _table(told: list[DesignAnswers]) -> Table:
    title = f"answers to the {told[0].questions} questions that all answered"
    table = Table("configuration", *right("different", "unsteady"), "sha256", title=title)
    for one in told:
        style = None if not (one.different or one.unsteady) else "yellow"
        table.add_row(one.configuration, str(one.different), str(one.unsteady), one.sha256[:16], style=style)
    return table
