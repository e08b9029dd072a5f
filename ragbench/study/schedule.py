"""A load, drawn before anything is sent: which question is due when.

The draw depends on (seed, arrival, rate) and never on the server, so that every design gets the same load.
"""

import hashlib
import itertools
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ragbench.files.csv_table import write_table
from ragbench.study.arrivals import CLOSED, Span, parse_arrival
from ragbench.study.questions import Question, endless, sample
from ragbench.study.trace import Trace


@dataclass(frozen=True, slots=True)
class Request:
    """One scheduled request: the `number`-th, due `due_s` seconds after the schedule's origin.

    `max_new_tokens` is its own limit, where a trace gives one.
    """

    number: int
    due_s: float
    question: Question
    max_new_tokens: int | None = None


def make_schedule(
    arrival: str,
    rate_rps: float,
    *,
    span: Span,
    seed: int,
    questions: Sequence[Question],
    max_new_tokens: int | None = None,
) -> tuple[Request, ...]:
    """The whole load in the order in which it is due. `arrival` as in ARRIVALS. Raises ArrivalError.

    `max_new_tokens` caps the lengths of a trace.
    """
    spec = parse_arrival(arrival)
    due_rng, question_rng, _ = streams(seed, arrival, rate_rps)
    due = spec.draw(rate_rps, span, due_rng)
    asked = sample(questions, len(due), question_rng)
    limits = _limits(spec.trace, len(due), cap=max_new_tokens)
    return tuple(
        Request(number, due_s, question, limit)
        for number, (due_s, question, limit) in enumerate(zip(due.tolist(), asked, limits, strict=True))
    )


def shares(schedule: Sequence[Request], *, of: int) -> list[tuple[Request, ...]]:
    """The schedule dealt out to `of` processes: each takes every `of`-th request, so that all are equally busy."""
    return [tuple(schedule[index::of]) for index in range(of)]


@dataclass(frozen=True, slots=True)
class Turns:
    """A closed loop: `users` who each ask, wait for the answer and ask again, until the span is over.

    It is share `index` of `of` equal ones: its requests are those numbered `index`, `index + of`, ...
    """

    users: int
    span: Span
    seed: int
    questions: tuple[Question, ...]
    index: int = 0
    of: int = 1

    def shares(self, of: int) -> list["Turns"]:
        """The users dealt out to `of` processes, or to fewer where there are fewer users."""
        of = min(of, self.users)
        return [replace(self, index=index, of=of) for index in range(of)]

    @property
    def own_users(self) -> int:
        """How many users are this share's."""
        return len(range(self.index, self.users, self.of))

    def asked(self) -> Iterator[tuple[int, Question]]:
        """The number and question of each request, in order; without end where the span is a duration."""
        stream = endless(self.questions, streams(self.seed, CLOSED, float(self.users))[1])
        return itertools.islice(enumerate(stream), self.index, self.span.requests, self.of)


def _limits(trace: Trace | None, n: int, *, cap: int | None) -> Sequence[int | None]:
    if trace is None or trace.lengths is None:
        return [None] * n
    return [length if cap is None else min(length, cap) for length in trace.lengths[:n]]


def warmup_questions(
    arrival: str, rate_rps: float, *, n: int, seed: int, questions: Sequence[Question]
) -> list[Question]:
    """`n` questions for the warm-up before this load, drawn from a stream of their own."""
    return sample(questions, n, streams(seed, arrival, rate_rps)[2])


def streams(seed: int, arrival: str, rate_rps: float) -> list[np.random.Generator]:
    """Independent generators for due times, questions and warm-up, the same for every design."""
    rate_bits = int.from_bytes(struct.pack(">d", rate_rps), "big")
    root = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(arrival.encode()), rate_bits))
    return np.random.default_rng(root).spawn(3)


def schedule_csv(schedule: Sequence[Request]) -> str:
    """The schedule as CSV text, `request,due_s,question[,max_new_tokens]`; due times to the nanosecond.

    The last column is there where a trace gives lengths.
    """
    columns = ["request", "due_s", "question"]
    rows: Iterable[tuple[object, ...]] = (
        (request.number, f"{request.due_s:.9f}", request.question.id) for request in schedule
    )
    if any(request.max_new_tokens is not None for request in schedule):
        columns.append("max_new_tokens")
        rows = ((*row, request.max_new_tokens) for row, request in zip(rows, schedule, strict=True))
    return write_table(columns, rows)


def sha256(text: str) -> str:
    """The checksum of `text` as UTF-8, in hex; `sha256sum` on the written file gives the same."""
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()
