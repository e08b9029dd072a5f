"""Whether designs give the same answers to the same questions: a checksum, and how many answers differ."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ragbench.files.csv_format import CsvFormat
from ragbench.results.records import Row


@dataclass(frozen=True, slots=True)
class DesignAnswers:
    """The answers of one design to the questions that all designs answered: a row of answers.csv.

    `sha256`: of questions and answers, by question. `different`: answers unlike those of the first design. `unsteady`:
    questions with more than one answer of this design.
    """

    configuration: str
    questions: int
    different: int
    unsteady: int
    sha256: str


ANSWERS = CsvFormat(DesignAnswers)


def compare_answers(by_configuration: Mapping[str, Sequence[Row]]) -> list[DesignAnswers]:
    """A row a design, over the questions that all of them answered; the first design is the reference."""
    by_question = {configuration: _answers(rows) for configuration, rows in by_configuration.items()}
    common = sorted(set.intersection(*(set(answers) for answers in by_question.values()))) if by_question else []
    first = next(iter(by_question.values()), {})
    return [
        DesignAnswers(
            configuration,
            len(common),
            sum(answers[question] != first[question] for question in common),
            sum(len(answers[question]) > 1 for question in common),
            hashlib.sha256(repr([(q, sorted(answers[q])) for q in common]).encode()).hexdigest(),
        )
        for configuration, answers in by_question.items()
    ]


def _answers(rows: Sequence[Row]) -> dict[str, set[str]]:
    by_question: dict[str, set[str]] = {}
    for row in rows:
        if row.status == "ok":
            by_question.setdefault(row.question, set()).add(row.result or "")
    return by_question
