"""Generation by another server with OpenAI's completions API: vLLM, TGI, llama.cpp, Ollama. Runs no model.

Source: https://platform.openai.com/docs/api-reference/completions, with `stream` and `stream_options.include_usage`.
"""

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp

from servers.backend import Chunk, Done, Event, Failed, Failure
from servers.rag.generation import Generated
from servers.rag.models import ModelError

if TYPE_CHECKING:
    import torch

    from servers.rag.models import Profile
    from servers.settings import Settings

log = logging.getLogger(__name__)
T = TypeVar("T")
_STEP_S = 0.01
_INVALID = (400, 413, 422)
_BUSY = 429
_MOST_TOKENS = 1 << 31
_END = {"choices": [{"finish_reason": "stop"}]}


class OpenAIGenerator:
    """Sends each prompt as a streamed request, on an event loop that runs within the calls. `step` returns new events.

    The other server limits the tokens; what it refuses is the failure of that prompt alone. A step waits only a moment
    for the first event, so that other prompts can join.
    """

    is_continuous = True
    window = None
    reading = 0

    def __init__(
        self, url: str, *, model: str | None, api_key: str | None, temperature: float, seed: int, timeout_s: float
    ) -> None:
        """`url` ends before `/completions`. Raises ModelError if no server answers there."""
        self._url = url.rstrip("/")
        stream = {"stream": True, "stream_options": {"include_usage": True}}
        self._options = {"temperature": temperature, "seed": seed, **stream}
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._running: dict[int, asyncio.Task[None]] = {}
        self._loop = asyncio.new_event_loop()
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            connector=aiohttp.TCPConnector(limit=0, loop=self._loop),
            loop=self._loop,
        )
        try:
            self.model = self._wait(self._chosen(model))
        except BaseException:
            self.close()
            raise

    def submit(self, jobs: Sequence[int], prompts: Sequence[str], max_new_tokens: Sequence[int]) -> None:
        """Send a request for each prompt."""
        self._wait(asyncio.sleep(0))  # connections that the other server has closed meanwhile are seen to be closed
        for job, prompt, limit in zip(jobs, prompts, max_new_tokens, strict=True):
            self._running[job] = self._loop.create_task(self._complete(job, prompt, limit))

    def cancel(self, job: int) -> None:
        """Close the connection, upon which the other server stops computing."""
        self._wait(self._stopped([job]))

    def step(self) -> list[Event]:
        """The events that have come."""
        return self._wait(self._next_events())

    def reset(self) -> None:
        """Close all connections, and forget their events."""
        self._wait(self._stopped(list(self._running)))
        self._events = asyncio.Queue()

    def close(self) -> None:
        """Close all connections and the loop."""
        if not self._loop.is_closed():
            self.reset()
            self._wait(self._session.close())
            self._loop.close()

    __del__ = close

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)

    async def _chosen(self, model: str | None) -> str:
        """The wanted model, or the first one that the server lists."""
        try:
            async with self._session.get(f"{self._url}/models") as response:
                response.raise_for_status()
                names = [str(entry["id"]) for entry in (await response.json())["data"]]
        except (aiohttp.ClientError, TimeoutError, KeyError, TypeError, ValueError) as error:
            raise ModelError(f"no OpenAI-compatible server at {self._url}: {error or type(error).__name__}") from error
        if not names or model not in (None, *names):
            raise ModelError(f"--openai-model {model}: {self._url} has {', '.join(names) or 'none'}")
        return model or names[0]

    async def _next_events(self) -> list[Event]:
        events = []
        with suppress(TimeoutError):
            events.append(await asyncio.wait_for(self._events.get(), _STEP_S if self._running else 0))
        while not self._events.empty():
            events.append(self._events.get_nowait())
        return events

    async def _stopped(self, jobs: Sequence[int]) -> None:
        tasks = [self._running.pop(job) for job in jobs if job in self._running]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _complete(self, job: int, prompt: str, limit: int) -> None:
        """Run one request: put a Chunk for each part of its answer, and at the end Done or Failed."""
        outcome: Generated | Failure
        try:
            outcome = await self._generated(job, prompt, limit)
        except (aiohttp.ClientError, TimeoutError) as error:
            outcome = _failure("the model server cannot be reached or broke off", error)
        except Exception as error:
            outcome = _failure("the model server's answer cannot be read", error)
        finally:
            self._running.pop(job, None)
        self._events.put_nowait(Failed(job, outcome) if isinstance(outcome, Failure) else Done(job, outcome))

    async def _generated(self, job: int, prompt: str, limit: int) -> Generated | Failure:
        """The complete answer. Raises what the connection or the parsing raises."""
        text, usage, has_ended = "", None, False
        body = {"model": self.model, "prompt": prompt, "max_tokens": limit, **self._options}
        async with self._session.post(f"{self._url}/completions", json=body) as response:
            if response.status != 200:
                return await _refusal(self._url, response)
            async for part in _parts(response.content):
                if part.get("error"):
                    return _failure("the model server failed in the middle of its answer", json.dumps(part)[:500])
                usage = part.get("usage") or usage
                choices = part.get("choices") or ()
                has_ended |= any(choice.get("finish_reason") for choice in choices)
                if more := "".join(choice.get("text") or "" for choice in choices):
                    text += more
                    self._events.put_nowait(Chunk(job, (), more))
        if not has_ended:
            return _failure("the model server's answer ended before it was complete", f"{len(text)} characters came")
        return Generated(_paired(text).strip(), _tokens(usage, "prompt_tokens"), _tokens(usage, "completion_tokens"))


async def _parts(lines: aiohttp.StreamReader) -> AsyncIterator[dict[str, Any]]:
    """The objects of a stream of server-sent events."""
    event = b""
    async for line in lines:
        field, _, value = line.strip().partition(b":")
        if field == b"event":
            event = value.strip()
        elif field == b"data" and event == b"error":
            yield {"error": value.decode(errors="replace")}
        elif field == b"data":
            yield _END if value.strip() == b"[DONE]" else json.loads(value)
        elif not line.strip():
            event = b""


async def _refusal(url: str, response: aiohttp.ClientResponse) -> Failure:
    """The failure for an answer other than 200. A wrong key or model name is not the client's fault."""
    said = (await response.content.read(4096)).decode(errors="replace")
    if response.status in _INVALID:
        return Failure("invalid", f"the model server refused the prompt: {_message(said)}")
    if response.status == _BUSY:
        return Failure("busy", "the model server is too busy", _retry_after_s(response.headers.get("Retry-After")))
    log.warning("%s: HTTP %d: %s", url, response.status, said[:500])
    return Failure("upstream", f"the model server failed with HTTP {response.status}")


def _message(said: str) -> str:
    """OpenAI's `error.message`, or the beginning of the body."""
    try:
        return _paired(str(json.loads(said)["error"]["message"]))[:300]
    except (ValueError, KeyError, TypeError, RecursionError):
        return said[:300]


def _retry_after_s(header: str | None) -> int:
    """Seconds in Retry-After, at least one; one without the header and for a date."""
    return max(1, int(header)) if header is not None and header.isdecimal() and len(header) < 6 else 1


def _paired(text: str) -> str:
    """The text with surrogate pairs joined, whose halves may come in two events; lone surrogates are replaced."""
    return text.encode("utf-16", errors="surrogatepass").decode("utf-16", errors="replace")


def _tokens(usage: Any, name: str) -> int | None:
    """A token count; None if it is missing or impossible."""
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if isinstance(count, int) and 0 <= count < _MOST_TOKENS else None


def _failure(text: str, reason: Exception | str) -> Failure:
    log.warning("%s: %s", text, str(reason) or type(reason).__name__)
    return Failure("upstream", text)


def build(settings: "Settings", profile: "Profile", *, device: str, dtype: "torch.dtype") -> OpenAIGenerator:
    """The generator, connected. Raises ModelError."""
    del profile, device, dtype
    assert settings.openai_url is not None, "checked by check_names"
    return OpenAIGenerator(
        settings.openai_url,
        model=settings.openai_model,
        api_key=os.environ.get("OPENAI_API_KEY"),  # the usual variable; never on a command line
        temperature=settings.temperature,
        seed=settings.seed,
        timeout_s=settings.request_timeout_s,
    )
