"""`ragbench report --answers`: whether all designs of a measured study said the same."""

import typer

from ragbench.cli.common import terminal
from ragbench.cli.console import table_of
from ragbench.compare.answers import ANSWERS, DesignAnswers, compare_answers
from ragbench.files.toml_tables import StudyError
from ragbench.results.paths import StudyPaths
from ragbench.results.records import REQUESTS, Row, read_manifests, write_atomic
from ragbench.study.points import configuration_label
from ragbench.terminal import Table


def compare(paths: StudyPaths, *, reference: str | None) -> None:
    """Print a checksum of the answers of each design to the same questions; exit 1 where any differ."""
    points = [manifest["point"] for manifest in read_manifests(paths.root)]
    designs = dict.fromkeys(point["design"] for point in points)
    if reference is not None and reference not in designs:
        raise StudyError([f"--reference: no design {reference!r} in {paths.root}; there: {', '.join(designs)}"])
    rows: dict[str, list[Row]] = {}
    for point in sorted(points, key=lambda point: point["design"] != reference):
        rows.setdefault(configuration_label(point), []).extend(REQUESTS.read(paths.point(point["name"]).requests))
    answers = compare_answers(rows)
    if answers[0].questions == 0:
        raise StudyError([f"{paths.root}: there is no question that every design answered"])
    write_atomic(paths.root / "answers.csv", ANSWERS.text(answers))
    terminal.print(_table(answers))
    terminal.print_line(f"table: {paths.root / 'answers.csv'}")
    if any(answer.different or answer.unsteady for answer in answers):
        raise typer.Exit(1)


def _table(answers: list[DesignAnswers]) -> Table:
    return table_of(
        ["configuration", "different", "unsteady", ("sha256", lambda answer: answer.sha256[:16])],
        answers,
        title=f"answers to the {answers[0].questions} questions that all answered",
        style=lambda answer: "yellow" if answer.different or answer.unsteady else None,
    )
