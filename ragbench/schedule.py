"""One load, made whole before anything is sent: which question is due when.

The draw depends on (seed, arrival, rate) and never on the server, so that every design gets the same load.
"""

import hashlib
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ragbench.arrivals import ARRIVALS, Span
from ragbench.workload import Question, sample


@dataclass(frozen=True, slots=True)
class Request:
    """One scheduled request: the `number`-th, due `due_s` seconds after the schedule's origin."""

    number: int
    due_s: float
    question: Question


def make_schedule(
    arrival: str, rate_rps: float, *, span: Span, seed: int, questions: Sequence[Question]
) -> tuple[Request, ...]:
    """The whole load in the order in which it is due. `arrival` is a name in ARRIVALS."""
    due_rng, question_rng, _ = streams(seed, arrival, rate_rps)
    due = ARRIVALS[arrival](rate_rps, span, due_rng)
    asked = sample(questions, len(due), question_rng)
    return tuple(
        Request(number, float(due_s), question) for number, (due_s, question) in enumerate(zip(due, asked, strict=True))
    )


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
    """The schedule as CSV text, `request,due_s,question`; due times to the nanosecond."""
    lines = [f"{request.number},{request.due_s:.9f},{_quoted(request.question.id)}" for request in schedule]
    return "\n".join(["request,due_s,question", *lines]) + "\n"


def _quoted(text: str) -> str:
    if not any(mark in text for mark in ',"\r\n'):
        return text
    return '"' + text.replace('"', '""') + '"'


def sha256(text: str) -> str:
    """The checksum of `text` as UTF-8, in hex; `sha256sum` on the written file gives the same."""
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()
