"""Generation by a server of its own that speaks OpenAI's completions: vLLM, TGI, llama.cpp, Ollama. Runs no model.

Source: https://platform.openai.com/docs/api-reference/completions, with `stream` and `stream_options.include_usage`.
"""

import asyncio
import itertools
import json
import os
import queue
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import aiohttp

from servers.rag.generation import Generated, Piece
from servers.rag.models import ModelError

if TYPE_CHECKING:
    import torch

    from servers.rag.models import Profile
    from servers.settings import Settings

__all__ = ["OpenAIGenerator", "build"]

_DATA = b"data:"
_STEP_S = 0.01


class OpenAIGenerator:
    """Each prompt is a streamed request, on an event loop in a thread; `step` gives what has come since the last one.

    How many fit the model is the other server's to say: its refusal fails the step. A step waits a moment for the first
    piece and no longer, so that others can join meanwhile.
    """

    joins = True

    def __init__(
        self, url: str, *, model: str | None, api_key: str | None, temperature: float, seed: int, timeout_s: float
    ) -> None:
        """`url` ends before `/completions`. Raises ModelError where nobody answers there."""
        self._url = url.rstrip("/")
        self._sampling = {"temperature": temperature, "seed": seed}
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._numbers = itertools.count()
        self._came: queue.SimpleQueue[Piece | Exception] = queue.SimpleQueue()
        self._running: dict[int, asyncio.Task[None]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="openai", daemon=True)
        self._thread.start()
        self._session: aiohttp.ClientSession = self._wait(self._opened())
        try:
            self.model: str = self._wait(self._chosen(model))
        except BaseException:
            self.close()
            raise

    def fits(self, prompts: Sequence[str], max_new_tokens: int) -> list[bool]:
        """All, as far as we know."""
        del max_new_tokens
        return [True] * len(prompts)

    def submit(self, prompts: Sequence[str], max_new_tokens: Sequence[int]) -> list[int]:
        """See Generator."""
        jobs = [next(self._numbers) for _ in prompts]
        self._wait(self._started(list(zip(jobs, prompts, max_new_tokens, strict=True))))
        return jobs

    def cancel(self, job: int) -> None:
        """Close its connection, at which the other server stops computing for it."""
        self._wait(self._stopped([job]))

    def step(self) -> list[Piece]:
        """All that has come. Raises what a request failed with."""
        come = []
        with suppress(queue.Empty):
            come.append(self._came.get(timeout=_STEP_S if self._running else 0.001))
        while not self._came.empty():
            come.append(self._came.get())
        pieces = []
        for piece in come:
            if isinstance(piece, Exception):
                self._wait(self._stopped(list(self._running)))
                raise piece
            pieces.append(piece)
        return pieces

    def close(self) -> None:
        """Give up what runs and end the thread."""
        self._wait(self._stopped(list(self._running)))
        self._wait(self._session.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _wait(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _opened(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=0)
        return aiohttp.ClientSession(headers=self._headers, timeout=self._timeout, connector=connector)

    async def _chosen(self, model: str | None) -> str:
        """The model's name, one that the server lists."""
        try:
            async with self._session.get(f"{self._url}/models") as response:
                response.raise_for_status()
                names = [str(one["id"]) for one in (await response.json())["data"]]
        except (aiohttp.ClientError, TimeoutError, KeyError, TypeError, ValueError) as error:
            raise ModelError(f"no OpenAI-compatible server at {self._url}: {error or type(error).__name__}") from error
        if not names or model not in (None, *names):
            raise ModelError(f"--openai-model {model}: {self._url} has {', '.join(names) or 'none'}")
        return model or names[0]

    async def _started(self, asked: Sequence[tuple[int, str, int]]) -> None:
        for job, prompt, limit in asked:
            self._running[job] = asyncio.create_task(self._complete(job, prompt, limit))

    async def _stopped(self, jobs: Sequence[int]) -> None:
        tasks = [self._running.pop(job) for job in jobs if job in self._running]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _complete(self, job: int, prompt: str, limit: int) -> None:
        """One request, a piece for each part of its answer."""
        text, usage = "", {"prompt_tokens": 0, "completion_tokens": 0}
        try:
            async for part in self._parts(prompt, limit):
                usage = part.get("usage") or usage
                more = "".join(choice.get("text") or "" for choice in part.get("choices", ()))
                if more:
                    text += more
                    self._came.put(Piece(job, more))
            made = Generated(text.strip(), int(usage["prompt_tokens"]), int(usage["completion_tokens"]))
            self._came.put(Piece(job, None, made))
        except Exception as error:
            self._came.put(RuntimeError(f"{self._url}: {error or type(error).__name__}"))
        finally:
            self._running.pop(job, None)

    async def _parts(self, prompt: str, limit: int) -> AsyncIterator[dict[str, Any]]:
        body = {"model": self.model, "prompt": prompt, "max_tokens": limit, "stream": True, **self._sampling}
        body["stream_options"] = {"include_usage": True}
        async with self._session.post(f"{self._url}/completions", json=body) as response:
            if response.status != 200:
                raise RuntimeError(f"HTTP {response.status}: {(await response.text())[:500]}")
            async for line in response.content:
                if line.startswith(_DATA) and (data := line.removeprefix(_DATA).strip()) != b"[DONE]":
                    yield json.loads(data)


def build(settings: "Settings", profile: "Profile", *, device: str, dtype: "torch.dtype") -> OpenAIGenerator:
    """Connected. Raises ModelError."""
    del profile, device, dtype
    assert settings.openai_url is not None, "checked by check_names"
    return OpenAIGenerator(
        settings.openai_url,
        model=settings.openai_model,
        api_key=os.environ.get("OPENAI_API_KEY"),  # as every client of such servers has it; on no command line
        temperature=settings.temperature,
        seed=settings.seed,
        timeout_s=settings.request_timeout_s,
    )
