"""The client of an experiment: keeps what a count needs of each answer, and tries again where nobody listens.

How a question travels is decided in load/client.py; when it is due in load/fire.py.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from errno import ECONNREFUSED

import numpy as np

from ragbench.chaos.outcome import Exchange
from ragbench.load.answer import Answer
from ragbench.load.client import Client, Clock, Prepared, connect
from ragbench.load.target import Target
from ragbench.results.records import Row
from ragbench.study.schedule import Request

_REFUSED = os.strerror(ECONNREFUSED)
_TRY_AGAIN_S = 0.05
_LONGEST_PATIENCE_S = 0.05


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the clients of one load behave. `prefix` makes their request ids unlike those of any other load.

    `hang_up_share`: of the requests, given up within 50 ms. `echoes`: the right answer is the question itself.
    """

    prefix: str
    timeout_s: float = 10.0
    headers: Mapping[str, str] = field(default_factory=dict)
    hang_up_share: float = 0.0
    echoes: bool = True


class ChaosClient:
    """An Asker for `fire`. Made by `connect_client`."""

    def __init__(self, behaviour: Behaviour, rng: np.random.Generator) -> None:
        self.refused = 0
        self.hung_up: set[int] = set()
        self.client: Client | None = None
        self._behaviour = behaviour
        self._rng = rng
        self._headers: dict[int, tuple[str | None, float | None]] = {}
        self._questions: dict[int, str] = {}

    def prepare(self, request: Request) -> Prepared:
        """The request with an id of its own, and the headers of the scenario."""
        assert self.client is not None, "made by connect_client()"
        self._questions[request.number] = request.question.query
        prepared = self.client.prepare(request)
        own = {"X-Request-Id": self._id(request.number)}
        return replace(prepared, headers={**prepared.headers, **own, **self._behaviour.headers})

    async def ask(self, prepared: Prepared, clock: Clock) -> Row:
        """Until there is an answer, the timeout has passed, or this client hangs up."""
        if self._rng.random() >= self._behaviour.hang_up_share:
            return await self._until_heard(prepared, clock)
        try:
            async with asyncio.timeout(self._rng.uniform(0, _LONGEST_PATIENCE_S)):
                return await self._until_heard(prepared, clock)
        except TimeoutError:
            request = prepared.request
            self.hung_up.add(request.number)
            return Row(request.number, request.question.id, request.due_s)

    def exchanges(self, rows: Sequence[Row]) -> list[Exchange]:
        """What became of each request, less those that were hung up."""
        return [self._exchange(row) for row in rows if row.request not in self.hung_up]

    def keep(self, request: Request, answer: Answer) -> None:
        """Remember the headers that a row has no place for."""
        after = answer.headers.get("retry-after", "").strip()
        self._headers[request.number] = (
            answer.headers.get("x-request-id"),
            float(after) if after.isdecimal() else None,
        )

    async def _until_heard(self, prepared: Prepared, clock: Clock) -> Row:
        assert self.client is not None, "made by connect_client()"
        first: Row | None = None
        while True:
            row = await self.client.ask(prepared, clock)
            first = first or row
            row = replace(row, sent_s=first.sent_s, send_lag_s=first.send_lag_s)  # it was sent when it was first tried
            if row.status != "connection_error" or row.error != _REFUSED:
                return row
            self.refused += 1
            if clock() + _TRY_AGAIN_S >= prepared.request.due_s + self._behaviour.timeout_s:
                return row
            await asyncio.sleep(_TRY_AGAIN_S)

    def _exchange(self, row: Row) -> Exchange:
        right = self._questions.get(row.request) if self._behaviour.echoes else None
        return Exchange(row, self._id(row.request), right, *self._headers.get(row.request, (None, None)))

    def _id(self, number: int) -> str:
        return f"{self._behaviour.prefix}-{number}"


@asynccontextmanager
async def connect_client(url: str, behaviour: Behaviour, rng: np.random.Generator) -> AsyncIterator[ChaosClient]:
    """A client connected to the service at `url`."""
    made = ChaosClient(behaviour, rng)
    async with connect(Target(url, behaviour.timeout_s), on_answer=made.keep) as client:
        made.client = client
        yield made
