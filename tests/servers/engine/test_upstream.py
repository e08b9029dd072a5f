"""A real fleet before a model server that refuses and fails: what clients are told, and what it costs the replicas."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import httpx
import pytest
import pytest_asyncio
from aiohttp import web

from servers.backend import Failure
from servers.backend.job import Job
from servers.engine import service, trial_question
from servers.errors import RequestError, UpstreamBusy, UpstreamFailed
from servers.rag.generation import Generated
from servers.rag.models import ModelError
from servers.rag.pipeline import Answered, Ask
from servers.settings import Settings
from tests import virtual
from tests.servers.rag.test_openai import ENDS, REFUSALS, Words, question
from tests.servers.running import running

ODD = {asked: end for asked, (_, end) in (REFUSALS | ENDS).items()}
REFUSED = {asked: end for asked, end in ODD.items() if isinstance(end, Failure)}
HONEST = {asked: Generated(asked, 2, 2) for asked in ("fine words", "more words", "last words")}
ERRORS = {"invalid": (422, None, None), "busy": (429, "7", "request"), "upstream": (502, None, "request")}
"""Status, Retry-After and X-Error-Scope of each kind of failure."""


class BusyAtFirst(Words):
    """Refuses its first request; answers none of those that it `expects` before all of them have come."""

    def __init__(self) -> None:
        super().__init__()
        self.expects: set[str] = set()
        self.all_came = asyncio.Event()

    async def completions(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if not self.bodies:
            self.bodies.append(body)
            return web.json_response({}, status=429)
        if question(body) in self.expects:
            self.expects.remove(question(body))
            if not self.expects:
                self.all_came.set()
            async with asyncio.timeout(20):
                await self.all_came.wait()
        return await super().completions(request)


class Fleet(NamedTuple):
    words: BusyAtFirst
    client: httpx.AsyncClient
    log: Path

    async def replicas(self) -> list[dict[str, object]]:
        listed: list[dict[str, object]] = (await self.client.get("/replicas")).json()["replicas"]
        return listed

    async def ask(self, asked: str, *, at: object = "") -> httpx.Response:
        return await self.client.post(f"{at}/rag", json={"query": asked})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    """Two replicas, each a `batched` with `--backend openai`."""
    folder, words = tmp_path_factory.mktemp("fleet"), BusyAtFirst()
    runner = words.runner()
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    flags = ["--base-port", "19150", "--min-replicas", "2", "--max-replicas", "2", "--routing", "round_robin"]
    openai = ["--backend", "openai", "--openai-url", f"http://127.0.0.1:{runner.addresses[0][1]}/v1"]
    try:
        async with running(folder, "scaled", *flags, *openai) as (_, client):
            yield Fleet(words, client, folder / "scaled.log")
    finally:
        await runner.cleanup()


def told(answer: httpx.Response) -> tuple[object, ...]:
    body, headers = answer.json(), answer.headers
    if answer.status_code == 200:
        return 200, body["result"], body["usage"]
    return answer.status_code, body["detail"], headers.get("Retry-After"), headers.get("X-Error-Scope")


def wanted(end: Generated | Failure) -> tuple[object, ...]:
    if isinstance(end, Failure):
        status, retry_after, scope = ERRORS[end.kind]
        return status, end.text, retry_after, scope
    usage = {"prompt_tokens": end.prompt_tokens, "completion_tokens": end.completion_tokens}
    return 200, end.text, None if end.prompt_tokens is None else usage


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="module")
async def test_a_busy_model_server_delays_the_start_and_is_one_line(fleet: Fleet) -> None:
    log = fleet.log.read_text()
    assert log.count("the model server is busy (the model server is too busy): the warm-up goes on in 1 s") == 1
    assert "Traceback" not in log


@pytest.mark.asyncio(loop_scope="module")
async def test_each_client_of_a_replica_is_told_of_its_own_failure(fleet: Fleet) -> None:
    """All at once: the model server answers none before all are there."""
    ends = ODD | HONEST
    fleet.words.expects = set(ends)
    replica = (await fleet.replicas())[0]["url"]
    answers = await asyncio.gather(*(fleet.ask(asked, at=replica) for asked in ends))
    assert dict(zip(ends, map(told, answers), strict=True)) == {asked: wanted(end) for asked, end in ends.items()}
    assert "Traceback" not in fleet.log.read_text()


@pytest.mark.asyncio(loop_scope="module")
async def test_no_failure_of_the_model_server_costs_a_replica_its_place_or_a_second_try(fleet: Fleet) -> None:
    """One after the other, so that each replica has several in a row."""
    before = Counter(fleet.words.questions())
    answers = [await fleet.ask(asked) for asked in REFUSED]
    assert list(map(told, answers)) == [wanted(end) for end in REFUSED.values()]
    assert Counter(fleet.words.questions()) - before == Counter(list(REFUSED))
    assert [(each["state"], each["ejected"]) for each in await fleet.replicas()] == [("ready", False)] * 2
    honest = await asyncio.gather(*(fleet.ask(asked) for asked in HONEST))
    assert list(map(told, honest)) == [wanted(end) for end in HONEST.values()]
    assert len({answer.headers["X-Replica"] for answer in honest}) == 2


def warm_up_s(*outcomes: Answered | RequestError) -> float:
    """Virtual time that a warm-up takes whose runs come to these."""
    runs = iter(outcomes)
    rag = service.RagService(Settings(profile="stub"))

    def submit(asks: Sequence[Ask]) -> list[Job[Answered]]:
        outcome = next(runs)
        jobs: list[Job[Answered]] = [Job(number, lambda number: None) for number in range(len(asks))]
        for job in jobs:
            job.end(outcome)
        return jobs

    async def scenario() -> float:
        rag._engine = SimpleNamespace(submit=submit)
        await rag._warm_up([trial_question(1)] * 2)
        return virtual.now()

    return virtual.run(scenario())


def test_a_warm_up_waits_as_long_as_a_busy_model_server_wants_and_never_very_long() -> None:
    busy = [UpstreamBusy("busy", retry_after_s=after_s) for after_s in (7, None, 86_400)]
    assert warm_up_s(*busy, Answered("", "", (), None, None, {})) == 7 + 1 + 30


def test_a_model_server_that_fails_ends_the_warm_up_with_one_line() -> None:
    with pytest.raises(ModelError, match=r"^the warm-up failed: the model server failed with HTTP 503$"):
        warm_up_s(UpstreamBusy("busy", retry_after_s=1), UpstreamFailed("the model server failed with HTTP 503"))
