"""Prompts to answers by a generator that nobody else uses."""

import itertools
from collections.abc import Sequence

from servers.backend import Chunk, Done, Event, Failed, Failure
from servers.backend.steps import UNREPORTED, Steps
from servers.rag.generation import Generated, Generator, reported_step

_NUMBERS = itertools.count()


def submit(generator: Generator, prompts: Sequence[str], limits: Sequence[int]) -> list[int]:
    """The numbers of the jobs."""
    jobs = [next(_NUMBERS) for _ in prompts]
    generator.submit(jobs, prompts, limits)
    return jobs


def generate(
    generator: Generator, prompts: Sequence[str], limits: Sequence[int], steps: Steps = UNREPORTED
) -> list[Generated | Failure]:
    """Answers in order."""
    jobs = submit(generator, prompts, limits)
    ended: dict[int, Generated | Failure] = {}
    while len(ended) < len(jobs):
        ended |= ends(reported_step(generator, steps))
    return [ended[job] for job in jobs]


def ends(events: Sequence[Event]) -> dict[int, Generated | Failure]:
    """How the jobs of those events ended, that did."""
    done = {event.job: event.result for event in events if isinstance(event, Done)}
    return done | {event.job: event.failure for event in events if isinstance(event, Failed)}


def chunked(events: Sequence[Event]) -> list[int]:
    """The jobs that got a token, in order."""
    return [event.job for event in events if isinstance(event, Chunk)]
