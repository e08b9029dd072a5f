"""The backend for OpenAI-compatible servers, against one of few words that speaks the same wire."""

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web

from servers.backend import Chunk, Done, Event, Failure
from servers.rag.generation import Generated
from servers.rag.generation.openai import OpenAIGenerator
from servers.rag.models import ModelError
from tests.servers.rag.generating import ends, generate, submit

REFUSALS = {
    "bad": (400, Failure("invalid", "the model server refused the prompt: the prompt is too long")),
    "too large": (413, Failure("invalid", "the model server refused the prompt: the prompt is too long")),
    "odd": (422, Failure("invalid", "the model server refused the prompt: the prompt is too long")),
    "half": (400, Failure("invalid", "the model server refused the prompt: \N{REPLACEMENT CHARACTER}")),
    "busy": (429, Failure("busy", "the model server is too busy", 7)),
    "locked": (401, Failure("upstream", "the model server failed with HTTP 401")),
    "forbidden": (403, Failure("upstream", "the model server failed with HTTP 403")),
    "unknown": (404, Failure("upstream", "the model server failed with HTTP 404")),
    "broken": (503, Failure("upstream", "the model server failed with HTTP 503")),
}
"""Prompts that are refused, with which status, and what becomes of them."""

_MIDDLE = Failure("upstream", "the model server failed in the middle of its answer")
ENDS: dict[str, tuple[bytes, Failure | Generated]] = {
    "an event": (b'event: error\ndata: {"message": "out of memory"}\n\n', _MIDDLE),
    "an error": (b'data: {"error": {"message": "out of memory"}}\n\ndata: [DONE]\n\n', _MIDDLE),
    "cut off": (b"", Failure("upstream", "the model server's answer ended before it was complete")),
    "no json": (b"data: {\n\n", Failure("upstream", "the model server's answer cannot be read")),
    "no usage": (b"data: [DONE]\n\n", Generated("no usage", None, None)),
    "halves": (
        b'data: {"choices": [{"text": "\\ud83d"}]}\n\n'
        b'data: {"choices": [{"text": "\\ude00\\ud83d"}]}\n\ndata: [DONE]\n\n',
        Generated("halves\U0001f600\N{REPLACEMENT CHARACTER}", None, None),
    ),
    "odd usage": (b'data: {"usage": "much"}\n\ndata: [DONE]\n\n', Generated("odd usage", None, None)),
    "odd numbers": (
        b'data: {"usage": {"prompt_tokens": 1%b, "completion_tokens": 1e999}}\n\ndata: [DONE]\n\n' % (b"0" * 30),
        Generated("odd numbers", None, None),
    ),
    "no mark": (b'data: {"choices": [{"text": "", "finish_reason": "stop"}]}\n\n', Generated("no mark", None, None)),
}
"""Prompts whose answers end oddly after their words, how, and what becomes of them."""


def question(body: dict[str, object]) -> str:
    """What a prompt asks, without documents where the pipeline made it of some."""
    return str(body["prompt"]).rpartition("Question: ")[2].removesuffix("\nAnswer:")


class Words:
    """Says the words of a question back, one a chunk; `slow` never ends, others are refused or end oddly."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, object]] = []
        self.headers: list[str | None] = []
        self.hung_up = threading.Event()
        self.connections: set[asyncio.BaseTransport] = set()

    def runner(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_get("/v1/models", self.models)
        app.router.add_post("/v1/completions", self.completions)
        return web.AppRunner(app, shutdown_timeout=1, handler_cancellation=True)

    def questions(self) -> list[str]:
        return [question(body) for body in self.bodies]

    async def hang_up(self) -> None:
        """Close all connections, as a server does that were idle for long."""
        for connection in self.connections:
            connection.close()
        await asyncio.sleep(0)

    async def models(self, request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "words"}, {"id": "others"}]})

    async def completions(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        self.headers.append(request.headers.get("Authorization"))
        assert request.transport is not None
        self.connections.add(request.transport)
        self.loop = asyncio.get_running_loop()
        asked = question(body)
        if asked in REFUSALS:
            status = REFUSALS[asked][0]
            answer = {"error": {"message": "\ud800" if asked == "half" else "the prompt is too long"}}
            return web.json_response(answer, status=status, headers={"Retry-After": "7"})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        words = asked.split()[: body["max_tokens"]]
        for word in words:
            await response.write(b"data: " + json.dumps({"choices": [{"text": f" {word}"}]}).encode() + b"\n\n")
        try:
            while asked == "slow":
                await asyncio.sleep(0.01)
                await response.write(b": still here\n\n")
        except (ConnectionError, asyncio.CancelledError):
            self.hung_up.set()
            raise
        if (end := ENDS.get(asked)) is not None:
            await response.write(end[0])
            return response
        usage = {"prompt_tokens": len(asked.split()), "completion_tokens": len(words)}
        await response.write(b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\ndata: [DONE]\n\n")
        return response


@pytest.fixture
def served() -> Iterator[tuple[Words, str]]:
    """The server on a loop in a thread. -> it, and its base URL"""
    words, loop, ready = Words(), asyncio.new_event_loop(), threading.Event()
    runner = words.runner()

    async def start() -> None:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        ready.set()

    def run() -> None:
        loop.run_until_complete(start())
        loop.run_forever()

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(10)
    yield words, f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


@pytest.fixture
def generator(served: tuple[Words, str]) -> Iterator[OpenAIGenerator]:
    made = OpenAIGenerator(served[1], model=None, api_key="sesame", temperature=0.0, seed=7, timeout_s=10)
    yield made
    made.close()


def come(generator: OpenAIGenerator) -> list[Event]:
    """What the first step gives that gives anything."""
    return next(events for events in iter(generator.step, None) if events)


def test_answers_come_in_order_and_the_request_says_how(generator: OpenAIGenerator, served: tuple[Words, str]) -> None:
    made = generate(generator, ["one two three", "four"], [2, 5])
    assert [(answer.text, answer.prompt_tokens, answer.completion_tokens) for answer in made] == [
        ("one two", 3, 2),
        ("four", 1, 1),
    ]
    body = next(body for body in served[0].bodies if body["prompt"] == "one two three")
    assert (body["model"], body["max_tokens"], body["temperature"], body["seed"]) == ("words", 2, 0.0, 7)
    assert served[0].headers == ["Bearer sesame"] * 2


def test_chunks_come_as_they_are_said_and_others_join_meanwhile(generator: OpenAIGenerator) -> None:
    [slow] = submit(generator, ["slow"], [9])
    assert come(generator) == [Chunk(slow, (), " slow")]
    [quick] = submit(generator, ["quick words"], [9])
    events: list[Event] = []
    while not any(isinstance(event, Done) for event in events):
        events += generator.step()
    answer = Done(quick, Generated("quick words", 2, 2))
    assert events == [Chunk(quick, (), " quick"), Chunk(quick, (), " words"), answer]
    generator.cancel(slow)


def test_a_connection_that_was_closed_between_two_prompts_costs_neither_its_answer(
    generator: OpenAIGenerator, served: tuple[Words, str]
) -> None:
    words = served[0]
    assert generate(generator, ["one"], [1]) == [Generated("one", 1, 1)]
    asyncio.run_coroutine_threadsafe(words.hang_up(), words.loop).result(5)
    assert generate(generator, ["two"], [1]) == [Generated("two", 1, 1)]
    assert len(words.connections) == 2


def test_a_cancelled_request_is_hung_up_on(generator: OpenAIGenerator, served: tuple[Words, str]) -> None:
    [job] = submit(generator, ["slow"], [9])
    come(generator)
    generator.cancel(job)
    generator.cancel(job)
    assert served[0].hung_up.wait(5)
    assert generator.step() == []


def test_what_the_other_server_refuses_or_breaks_off_is_that_prompt_s_failure(generator: OpenAIGenerator) -> None:
    """Each among the others, in one batch: none of them costs another its answer."""
    odd = {prompt: failed for prompt, (_, failed) in (REFUSALS | ENDS).items()}
    prompts = ["fine words", *odd, "more words"]
    made = dict(zip(prompts, generate(generator, prompts, [3] * len(prompts)), strict=True))
    assert made == {"fine words": Generated("fine words", 2, 2), **odd, "more words": Generated("more words", 2, 2)}


def test_what_is_left_of_jobs_that_were_reset_is_no_later_prompt_s_answer(generator: OpenAIGenerator) -> None:
    generator.submit([7], ["old words"], [9])
    while generator._running:
        generator._wait(asyncio.sleep(0))
    generator.reset()
    generator.submit([7], ["newer words"], [9])
    ended: dict[int, Any] = {}
    while not ended:
        ended = ends(generator.step())
    assert ended == {7: Generated("newer words", 2, 2)}


def test_where_nobody_answers_or_the_model_is_unknown_one_line_says_so(served: tuple[Words, str]) -> None:
    given: dict[str, Any] = {"api_key": None, "temperature": 0.0, "seed": 0, "timeout_s": 5.0}
    with pytest.raises(ModelError, match=r"no OpenAI-compatible server at http://127.0.0.1:1/v1"):
        OpenAIGenerator("http://127.0.0.1:1/v1", model=None, **given)
    with pytest.raises(ModelError, match=r"--openai-model mine: http://.*/v1 has words, others"):
        OpenAIGenerator(served[1], model="mine", **given)
