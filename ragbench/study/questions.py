"""Questions with their gold answers, a seeded sample of them, and the marks of an answer. Knows no HTTP and no time."""

import hashlib
import itertools
import re
import string
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from ragbench.files.csv_table import RecordError
from ragbench.files.text_file import MOST_TEXT, parse_reported, read_bytes, read_text
from ragbench.results.paths import SHIPPED_QUESTIONS

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


@dataclass(frozen=True, slots=True)
class Question:
    """One question. `answers`: texts that count as right. `documents`: ids that hold the answer. Both may be empty."""

    id: str
    query: str
    answers: tuple[str, ...] = ()
    documents: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.id or not self.query:
            raise ValueError("a question needs an id and a query, and neither may be empty")


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """The questions of one file, in order, and the checksum of the file."""

    questions: tuple[Question, ...]
    sha256: str


def load_questions(name: str) -> QuestionSet:
    """The questions of a shipped set or of a path. Raises RecordError."""
    path = question_file(name)
    return QuestionSet(read_questions(path), hashlib.sha256(read_bytes(path, most=MOST_TEXT)).hexdigest())


def question_file(name: str) -> Path:
    """The file of `name`: a path to a JSONL file, or one shipped with ragbench. Raises RecordError."""
    shipped = SHIPPED_QUESTIONS / f"{name}.jsonl"
    for path in (Path(name), shipped):
        if path.is_file():
            return path
    known = ", ".join(sorted(path.stem for path in SHIPPED_QUESTIONS.glob("*.jsonl")))
    raise RecordError(f"no questions at {name!r}: give a path to a JSONL file, or a shipped set ({known})")


def read_questions(path: Path) -> tuple[Question, ...]:
    """All questions of a JSONL file, in order. Raises RecordError naming the file and the line."""
    questions = []
    seen: set[str] = set()
    try:
        lines = read_text(path).split("\n")
    except ValueError as error:
        raise RecordError(str(error)) from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        question = _question(line, where=f"{path}:{number}")
        if question.id in seen:
            raise RecordError(f"{path}:{number}: the id {question.id!r} is there twice")
        seen.add(question.id)
        questions.append(question)
    if not questions:
        raise RecordError(f"{path} holds no questions")
    return tuple(questions)


def _question(line: str, *, where: str) -> Question:
    try:
        return msgspec.convert(parse_reported(line), type=Question)
    except ValueError as error:
        wanted = '{"id": text, "query": text, "answers": [texts], "documents": [texts]}'
        raise RecordError(f"{where}: {error}; wanted {wanted}") from error


def sample(questions: Sequence[Question], n: int, rng: np.random.Generator) -> list[Question]:
    """The first `n` of `endless`."""
    return list(itertools.islice(endless(questions, rng), n))


def endless(questions: Sequence[Question], rng: np.random.Generator) -> Iterator[Question]:
    """Questions in random order for ever; none comes again before all have been asked."""
    if not questions:
        raise ValueError("there are no questions to sample from")
    while True:
        yield from (questions[i] for i in rng.permutation(len(questions)))


def normalise(text: str) -> str:
    """Lower case, no punctuation, no articles, single spaces: the rule of SQuAD's exact match."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(result: str, answers: Collection[str]) -> float | None:
    """1.0 where `result` is one of `answers` after `normalise`, else 0.0; None where no gold answer is known."""
    if not answers:
        return None
    return float(normalise(result) in {normalise(answer) for answer in answers})


def f1(result: str, answers: Collection[str]) -> float | None:
    """Overlap of the words of `result` with the nearest of `answers`, 0 to 1; None where no gold answer is known.

    As SQuAD v1.1 counts: harmonic mean of precision and recall over the bags of words that `normalise` leaves, the best
    of the answers; 0 where they share no word, also where nothing is left of either.
    """
    if not answers:
        return None
    return max(_overlap(normalise(result).split(), normalise(answer).split()) for answer in answers)


def _overlap(said: Sequence[str], gold: Sequence[str]) -> float:
    common = (Counter(said) & Counter(gold)).total()
    return 2 * common / (len(said) + len(gold)) if common else 0.0


def recall_at_k(returned: Collection[str], gold: Collection[str]) -> float | None:
    """Share of the gold document ids among those returned, 0 to 1; None where no gold document is known."""
    if not gold:
        return None
    wanted = set(gold)
    return len(wanted & set(returned)) / len(wanted)
