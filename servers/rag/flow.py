"""Questions that enter and leave a pipeline one by one, between two steps of its generator. No HTTP, no queue."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from servers.rag.pipeline import Answered, Ask, Found, Pipeline

__all__ = ["Flow"]

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Party:
    """Questions that are answered together, by the places of those that still run."""

    found: list[Found]
    began_s: float
    answers: dict[int, Answered] = field(default_factory=dict)


class Flow:
    """One pipeline whose generator takes prompts in while others run."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
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

    def cancel(self, ticket: int) -> None:
        """Forget them; those that have been answered or were never there are no mistake."""
        self._coming = [(other, asks) for other, asks in self._coming if other != ticket]
        if self._parties.pop(ticket, None) is not None:
            for job in [job for job, (other, _) in self._seats.items() if other == ticket]:
                self._pipeline.generator.cancel(job)
                del self._seats[job]

    def step(self) -> list[tuple[int, list[Answered] | Exception]]:
        """Embed and retrieve for those who came, one step of generation for all. -> who is answered, or has failed."""
        try:
            self._begin()
            pieces = self._pipeline.generator.step()
        except Exception as error:
            log.exception("the pipeline failed")
            failed = [ticket for ticket, _ in self._coming] + list(self._parties)
            for ticket in failed:
                self.cancel(ticket)
            return [(ticket, error) for ticket in failed]
        over: list[tuple[int, list[Answered] | Exception]] = []
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

    def _begin(self) -> None:
        if not self._coming:
            return
        found = self._pipeline.find([ask for _, asks in self._coming for ask in asks])
        began_s = time.perf_counter()
        jobs = iter(self._pipeline.submit(found))
        rest = iter(found)
        for ticket, asks in self._coming:
            party = _Party([next(rest) for _ in asks], began_s)
            self._parties[ticket] = party
            self._seats |= {next(jobs): (ticket, place) for place in range(len(asks))}
        self._coming = []
