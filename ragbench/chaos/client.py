"""The client of an experiment: it keeps the headers that are counted, and tries again where the port is closed."""

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
_RETRY_S = 0.05
_LONGEST_PATIENCE_S = 0.05


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the clients of one load behave. `prefix` starts their request ids, and is unique to the load.

    `hang_up_share`: of the requests, abandoned within 50 ms. `echoes`: the right answer is the question itself.
    """

    prefix: str
    timeout_s: float = 10.0
    headers: Mapping[str, str] = field(default_factory=dict)
    hang_up_share: float = 0.0
    echoes: bool = True


@dataclass(slots=True)
class ChaosClient:
    """An Asker for `fire`. Made by `connect_client`; `answers`: headers of answers by number of the request."""

    client: Client
    behaviour: Behaviour
    rng: np.random.Generator
    answers: Mapping[int, Mapping[str, str]]
    refused: int = 0
    hung_up: set[int] = field(default_factory=set)
    _questions: dict[int, str] = field(default_factory=dict)

    def prepare(self, request: Request) -> Prepared:
        """The request with an id of its own, and the headers of the scenario."""
        self._questions[request.number] = request.question.query
        prepared = self.client.prepare(request)
        own = {"X-Request-Id": self._id(request.number)}
        return replace(prepared, headers={**prepared.headers, **own, **self.behaviour.headers})

    async def ask(self, prepared: Prepared, clock: Clock) -> Row:
        """Return after the answer, the timeout, or when this client hangs up."""
        if self.rng.random() >= self.behaviour.hang_up_share:
            return await self._ask_until_heard(prepared, clock)
        try:
            async with asyncio.timeout(self.rng.uniform(0, _LONGEST_PATIENCE_S)):
                return await self._ask_until_heard(prepared, clock)
        except TimeoutError:
            request = prepared.request
            self.hung_up.add(request.number)
            return Row(request.number, request.question.id, request.due_s)

    def exchanges(self, rows: Sequence[Row]) -> list[Exchange]:
        """What became of each request, without those that were hung up."""
        return [self._exchange(row) for row in rows if row.request not in self.hung_up]

    async def _ask_until_heard(self, prepared: Prepared, clock: Clock) -> Row:
        first: Row | None = None
        while True:
            row = await self.client.ask(prepared, clock)
            first = first or row
            row = replace(row, sent_s=first.sent_s, send_lag_s=first.send_lag_s)
            if row.status != "connection_error" or row.error != _REFUSED:
                return row
            self.refused += 1
            if clock() + _RETRY_S >= prepared.request.due_s + self.behaviour.timeout_s:
                return row
            await asyncio.sleep(_RETRY_S)

    def _exchange(self, row: Row) -> Exchange:
        expected = self._questions.get(row.request) if self.behaviour.echoes else None
        headers = self.answers.get(row.request, {})
        after = headers.get("retry-after", "").strip()
        retry_after_s = float(after) if after.isdecimal() else None
        return Exchange(row, self._id(row.request), expected, headers.get("x-request-id"), retry_after_s)

    def _id(self, number: int) -> str:
        return f"{self.behaviour.prefix}-{number}"


@asynccontextmanager
async def connect_client(url: str, behaviour: Behaviour, rng: np.random.Generator) -> AsyncIterator[ChaosClient]:
    """A client connected to the service at `url`."""
    answers: dict[int, Mapping[str, str]] = {}

    def keep_headers(request: Request, answer: Answer) -> None:
        answers[request.number] = answer.headers

    async with connect(Target(url, behaviour.timeout_s), on_answer=keep_headers) as client:
        yield ChaosClient(client, behaviour, rng, answers)
