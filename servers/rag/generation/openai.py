"""Generation by another server with OpenAI's completions API: vLLM, TGI, llama.cpp, Ollama. Runs no model.

Source: https://platform.openai.com/docs/api-reference/completions, with `stream` and `stream_options.include_usage`.
"""

import asyncio
import json
import logging
import os
import queue
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import aiohttp

from servers.backend import Chunk, Done, Event, Failed, Failure
from servers.rag.generation import Generated
from servers.rag.models import ModelError

if TYPE_CHECKING:
    import torch

    from servers.rag.models import Profile
    from servers.settings import Settings

log = logging.getLogger(__name__)
_DATA = b"data:"
_EVENT = b"event:"
_STEP_S = 0.01
_INVALID = (400, 413, 422)
_BUSY = 429
_MOST_TOKENS = 1 << 31


class OpenAIGenerator:
    """Sends each prompt as a streamed request, on an event loop in a thread. `step` returns what has come since.

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
        self._sampling = {"temperature": temperature, "seed": seed}
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._running: dict[int, asyncio.Task[None]] = {}
        self._loop = asyncio.new_event_loop()
        self._closing = asyncio.Event()
        self._is_open = threading.Event()
        self._session: aiohttp.ClientSession
        self._tasks = asyncio.TaskGroup()
        self._thread = threading.Thread(target=self._run, name="openai", daemon=True)
        self._thread.start()
        self._is_open.wait()
        try:
            self.model: str = self._wait(self._chosen(model))
        except BaseException:
            self.close()
            raise

    def submit(self, jobs: Sequence[int], prompts: Sequence[str], max_new_tokens: Sequence[int]) -> None:
        """Send a request for each prompt."""
        self._wait(self._started(list(zip(jobs, prompts, max_new_tokens, strict=True))))

    def cancel(self, job: int) -> None:
        """Close the connection, upon which the other server stops computing."""
        self._wait(self._stopped([job]))

    def step(self) -> list[Event]:
        """The events that have come."""
        events = []
        with suppress(queue.Empty):
            events.append(self._events.get(timeout=_STEP_S if self._running else 0.001))
        while not self._events.empty():
            events.append(self._events.get())
        return events

    def reset(self) -> None:
        """Close all connections, and forget their events."""
        self._wait(self._stopped(list(self._running)))
        while not self._events.empty():
            self._events.get()

    def close(self) -> None:
        """Cancel all requests and end the thread."""
        self.reset()
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()
        self._loop.close()

    def _wait(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        connector = aiohttp.TCPConnector(limit=0)
        session = aiohttp.ClientSession(headers=self._headers, timeout=self._timeout, connector=connector)
        async with session as self._session, self._tasks:
            self._is_open.set()
            await self._closing.wait()

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

    async def _started(self, asked: Sequence[tuple[int, str, int]]) -> None:
        for job, prompt, limit in asked:
            self._running[job] = self._tasks.create_task(self._complete(job, prompt, limit))

    async def _stopped(self, jobs: Sequence[int]) -> None:
        tasks = [self._running.pop(job) for job in jobs if job in self._running]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _complete(self, job: int, prompt: str, limit: int) -> None:
        """Run one request: put a Chunk for each part of its answer, and at the end Done or Failed."""
        event: Event
        try:
            event = Done(job, await self._generated(job, prompt, limit))
        except _RefusedError as refused:
            event = Failed(job, refused.failure)
        except (aiohttp.ClientError, TimeoutError) as error:
            event = Failed(job, _failure("the model server cannot be reached or broke off", error))
        except Exception as error:
            event = Failed(job, _failure("the model server's answer cannot be read", error))
        finally:
            self._running.pop(job, None)
        self._events.put(event)

    async def _generated(self, job: int, prompt: str, limit: int) -> Generated:
        """The complete answer. Raises _RefusedError, or what the connection or the parsing raises."""
        text, usage, has_ended = "", None, False
        async for part in self._parts(prompt, limit):
            if part is None:
                has_ended = True
                continue
            if part.get("error"):
                log.warning("%s: an error in a stream: %s", self._url, json.dumps(part)[:500])
                raise _RefusedError(Failure("upstream", "the model server failed in the middle of its answer"))
            usage = part.get("usage") or usage
            choices = part.get("choices") or ()
            has_ended |= any(choice.get("finish_reason") for choice in choices)
            if more := "".join(choice.get("text") or "" for choice in choices):
                text += more
                self._events.put(Chunk(job, (), more))
        if not has_ended:
            raise _RefusedError(Failure("upstream", "the model server's answer ended before it was complete"))
        counted = usage if isinstance(usage, dict) else {}
        return Generated(
            _paired(text).strip(), _tokens(counted, "prompt_tokens"), _tokens(counted, "completion_tokens")
        )

    async def _parts(self, prompt: str, limit: int) -> AsyncIterator[dict[str, Any] | None]:
        """The stream's events, and None for `[DONE]`. Raises _RefusedError."""
        body = {"model": self.model, "prompt": prompt, "max_tokens": limit, "stream": True, **self._sampling}
        body["stream_options"] = {"include_usage": True}
        async with self._session.post(f"{self._url}/completions", json=body) as response:
            if response.status != 200:
                raise _RefusedError(await _refusal(self._url, response))
            event = b""
            async for line in response.content:
                if line.startswith(_EVENT):
                    event = line.removeprefix(_EVENT).strip()
                elif line.startswith(_DATA):
                    data = line.removeprefix(_DATA).strip()
                    if event == b"error":
                        yield {"error": data.decode(errors="replace")}
                    else:
                        yield None if data == b"[DONE]" else json.loads(data)
                elif not line.strip():
                    event = b""


class _RefusedError(Exception):
    """The model server gave no answer; `failure` is for the client."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure


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


def _tokens(usage: dict[str, Any], name: str) -> int | None:
    """A token count; None if it is missing or impossible."""
    count = usage.get(name)
    return count if isinstance(count, int) and 0 <= count < _MOST_TOKENS else None


def _failure(text: str, error: Exception) -> Failure:
    log.warning("%s: %s", text, error or type(error).__name__)
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
