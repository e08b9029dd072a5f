"""The client of an experiment: it keeps the headers that are counted, and tries again where the port is closed."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
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


@dataclass(slots=True)
class ChaosClient:
    """An Asker for `fire`, within `connected`. `prefix` starts its request ids, and is unique to its load.

    `hang_up_share`: of the requests, abandoned within 50 ms. `echoes`: the right answer is the question itself.
    `exchanges`: what became of each request, as they ended, without those that were hung up.
    """

    prefix: str
    rng: np.random.Generator
    timeout_s: float = 10.0
    headers: Mapping[str, str] = field(default_factory=dict)
    hang_up_share: float = 0.0
    echoes: bool = True
    exchanges: list[Exchange] = field(default_factory=list)
    refused: int = 0
    hung_up: int = 0
    _client: Client = field(init=False)
    _answers: dict[int, Mapping[str, str]] = field(default_factory=dict)

    @asynccontextmanager
    async def connected(self, url: str) -> AsyncIterator[None]:
        """Be connected to the service at `url`; the headers of its answers are kept."""

        def keep_headers(request: Request, answer: Answer) -> None:
            self._answers[request.number] = answer.headers

        async with connect(Target(url, self.timeout_s), on_answer=keep_headers) as self._client:
            yield

    def prepare(self, request: Request) -> Prepared:
        """The request with an id of its own, and the headers of the scenario."""
        prepared = self._client.prepare(request)
        own = {"X-Request-Id": f"{self.prefix}-{request.number}"}
        return replace(prepared, headers={**prepared.headers, **own, **self.headers})

    async def ask(self, prepared: Prepared, clock: Clock) -> Row:
        """Return after the answer, the timeout, or when this client hangs up."""
        hangs_up = self.rng.random() < self.hang_up_share
        request = prepared.request
        try:
            async with asyncio.timeout(self.rng.uniform(0, _LONGEST_PATIENCE_S) if hangs_up else None):
                row = await self._ask_until_heard(prepared, clock)
        except TimeoutError:
            self.hung_up += 1
            return Row(request.number, request.question.id, request.due_s)
        headers = self._answers.pop(request.number, {})
        after = headers.get("retry-after", "").strip()
        retry_after_s = float(after) if after.isdecimal() else None
        expected = request.question.query if self.echoes else None
        sent_id = f"{self.prefix}-{request.number}"
        self.exchanges.append(Exchange(row, sent_id, expected, headers.get("x-request-id"), retry_after_s))
        return row

    async def _ask_until_heard(self, prepared: Prepared, clock: Clock) -> Row:
        first: Row | None = None
        while True:
            row = await self._client.ask(prepared, clock)
            first = first or row
            row = replace(row, sent_s=first.sent_s, send_lag_s=first.send_lag_s)
            if row.status != "connection_error" or row.error != _REFUSED:
                return row
            self.refused += 1
            if clock() + _RETRY_S >= prepared.request.due_s + self.timeout_s:
                return row
            await asyncio.sleep(_RETRY_S)
