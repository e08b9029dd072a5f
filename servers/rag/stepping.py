"""Questions that enter and leave a pipeline one by one, between two steps of its generator. No HTTP, no queue."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from servers.rag.failed import Failed
from servers.rag.generation import reported_step
from servers.rag.pipeline import Answered, Ask, Found, Pipeline
from servers.rag.steps import UNREPORTED, Steps

__all__ = ["Flow"]

Outcome = list[Answered | Failed]


@dataclass(slots=True)
class _Party:
    """Questions that are answered together, by the places of those that still run."""

    found: list[Found]
    began_s: float
    answers: dict[int, Answered | Failed] = field(default_factory=dict)


class Flow:
    """One pipeline whose generator takes prompts in while others run."""

    def __init__(self, pipeline: Pipeline, steps: Steps = UNREPORTED) -> None:
        self._pipeline = pipeline
        self._steps = steps
        self._coming: list[tuple[int, Sequence[Ask]]] = []
        self._parties: dict[int, _Party] = {}
        self._seats: dict[int, tuple[int, int]] = {}  # job -> ticket, place

    @property
    def is_running(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._coming or self._parties)

    def add(self, ticket: int, asks: Sequence[Ask]) -> None:
        """Take questions in with the next step; they are answered together, under this ticket."""
        self._coming.append((ticket, asks))

    def cancel(self, ticket: int) -> bool:
        """Forget them; those that have been answered or were never there are no mistake. -> whether they were here."""
        before = len(self._coming)
        self._coming = [(other, asks) for other, asks in self._coming if other != ticket]
        if self._parties.pop(ticket, None) is None:
            return len(self._coming) < before
        for job in [job for job, (other, _) in self._seats.items() if other == ticket]:
            self._pipeline.generator.cancel(job)
            del self._seats[job]
        return True

    def step(self) -> list[tuple[int, Outcome]]:
        """One step of generation for all. -> who is answered.

        What it raises leaves them in no known state: they are to be `emptied`, and asked again one by one.
        """
        pieces = reported_step(self._pipeline.generator, self._steps)
        over: list[tuple[int, Outcome]] = []
        for piece in pieces:
            if piece.done is None or piece.job not in self._seats:
                continue
            ticket, place = self._seats.pop(piece.job)
            party = self._parties[ticket]
            generate_s = time.perf_counter() - party.began_s
            party.answers[place] = party.found[place].answered(piece.done, generate_s)
            if len(party.answers) == len(party.found):
                del self._parties[ticket]
                over.append((ticket, [party.answers[place] for place in range(len(party.found))]))
        return over

    def emptied(self) -> list[tuple[int, list[Ask]]]:
        """Forget all that run, whatever a failed step has left of them. -> their questions by ticket."""
        running = [(ticket, [one.ask for one in party.found]) for ticket, party in self._parties.items()]
        self._pipeline.generator.reset()
        self._parties, self._seats = {}, {}
        return running

    def came(self) -> list[tuple[int, Sequence[Ask]]]:
        """Forget those who came and were not taken in. -> their questions by ticket."""
        coming, self._coming = self._coming, []
        return coming

    def find(self, ask: Ask) -> None:
        """Embed and retrieve for a question that nobody asked. Those that run are not touched."""
        self._pipeline.find([ask], self._steps)

    def begin_with(self, ticket: int, asks: Sequence[Ask]) -> None:
        """Take in these alone, or, where that raises, not."""
        self._coming = [(ticket, asks)]
        try:
            self.begin()
        finally:
            self._coming = []

    def begin(self) -> None:
        """Embed and retrieve for those who came, and have the generator take them in. Touches none that runs."""
        if not self._coming:
            return
        found = self._pipeline.find([ask for _, asks in self._coming for ask in asks], self._steps)
        began_s = time.perf_counter()
        jobs = iter(self._pipeline.submit(found, self._steps))
        rest = iter(found)
        for ticket, asks in self._coming:
            party = _Party([next(rest) for _ in asks], began_s)
            self._parties[ticket] = party
            self._seats |= {next(jobs): (ticket, place) for place in range(len(asks))}
        self._coming = []
