"""Whether designs give the same answers: a checksum of all they said to the same questions, and how many differ."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ragbench.files.csv_format import CsvFormat
from ragbench.results.records import Row

__all__ = ["ANSWERS", "Told", "compare_answers"]


@dataclass(frozen=True, slots=True)
class Told:
    """One design's answers to the questions that all were asked: a row of answers.csv.

    `sha256` is over questions and answers in order of question; `different` counts answers unlike the first design's,
    and `unsteady` questions to which this design itself gave more than one answer.
    """

    configuration: str
    questions: int
    different: int
    unsteady: int
    sha256: str


ANSWERS = CsvFormat(Told)


def compare_answers(by_configuration: Mapping[str, Sequence[Row]]) -> list[Told]:
    """By design, on the questions that every one of them answered; the first is the reference."""
    said = {configuration: _answers(rows) for configuration, rows in by_configuration.items()}
    common = sorted(set.intersection(*(set(answers) for answers in said.values()))) if said else []
    first = next(iter(said.values()), {})
    return [
        Told(
            configuration,
            len(common),
            sum(answers[question] != first[question] for question in common),
            sum(len(answers[question]) > 1 for question in common),
            hashlib.sha256(repr([(q, sorted(answers[q])) for q in common]).encode()).hexdigest(),
        )
        for configuration, answers in said.items()
    ]


def _answers(rows: Sequence[Row]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in rows:
        if row.status == "ok":
            found.setdefault(row.question, set()).add(row.result or "")
    return found
