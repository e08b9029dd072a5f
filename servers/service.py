"""The pipeline as a design uses it: loaded and run by the engine, questions checked, answers put on the wire."""

import asyncio
import platform
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

from servers import metrics
from servers.api import Answer, Document, Question, Served, Usage
from servers.engine import Engine, EngineThread, Loaded
from servers.engine_process import EngineProcess
from servers.errors import BadRequest
from servers.rag.build import check_names
from servers.rag.pipeline import Answered, Ask
from servers.settings import Settings

__all__ = ["RagService"]

ENGINES: dict[str, Callable[[], Engine]] = {"thread": EngineThread, "process": EngineProcess}
_VERSIONS = ("torch", "transformers", "sentence-transformers", "numpy", "fastapi", "uvicorn")


class RagService:
    """One pipeline on one engine. Raises ValueError on a name that is in none of the tables."""

    def __init__(self, settings: Settings) -> None:
        check_names(settings)
        self._settings = settings
        self._engine: Engine = ENGINES[settings.engine]()
        self._about: Loaded | None = None

    async def start(self, *, batch_sizes: Sequence[int]) -> None:
        """Load, then run once with each batch size. Raises ModelError."""
        self._about = await self._engine.load(self._settings)
        for size in batch_sizes:
            warm = Ask("Which animals can hover in the air?", k=2, max_new_tokens=self._settings.max_new_tokens)
            await self.run([warm] * size)

    async def stop(self) -> None:
        """Release the engine without waiting for what still runs on it."""
        await self._engine.stop()

    def check(self, question: Question) -> Ask:
        """The question with its defaults filled in. Raises BadRequest, naming the field, where a limit is passed."""
        most = min(self._settings.max_k, self._loaded.corpus_size)
        if question.k > most:
            raise BadRequest(f"k: must be <= {most}, got {question.k}")
        limit = self._settings.max_new_tokens
        tokens = limit if question.max_new_tokens is None else question.max_new_tokens
        if tokens > limit:
            raise BadRequest(f"max_new_tokens: must be <= {limit}, got {tokens}")
        return Ask(question.query, question.k, tokens)

    @property
    def joins(self) -> bool:
        """Whether questions may enter the pipeline while others are in it."""
        return self._loaded.joins

    def run(self, asks: Sequence[Ask]) -> asyncio.Future[Sequence[Answered]]:
        """The pipeline's answers, in order; the run is under way, or next, when this returns."""
        running = self._engine.run(asks)
        running.add_done_callback(_observe)
        return running

    def drop(self, run: asyncio.Future[Sequence[Answered]], place: int) -> None:
        """Nobody waits for the answer at that place of a run any more."""
        self._engine.drop(run, place)

    def served(self, answered: Answered, *, queue_s: float, batch_size: int, close_reason: str | None = None) -> Served:
        """The answer as it goes out."""
        documents = [Document(id=hit.id, text=hit.text, score=hit.score) for hit in answered.documents]
        metrics.TOKENS.labels("prompt").inc(answered.prompt_tokens)
        metrics.TOKENS.labels("completion").inc(answered.completion_tokens)
        usage = Usage(prompt_tokens=answered.prompt_tokens, completion_tokens=answered.completion_tokens)
        answer = Answer(
            query=answered.query,
            result=answered.result,
            documents=documents,
            model=self._loaded.model_name,
            usage=usage,
        )
        return Served(answer, {"queue": queue_s, **answered.stage_s}, batch_size, close_reason)

    def info(self) -> dict[str, Any]:
        """Versions, and, once loaded, device, models and corpus."""
        versions = {"python": platform.python_version(), **{name: version(name) for name in _VERSIONS}}
        return {"versions": versions, **(self._about.info if self._about else {})}

    @property
    def _loaded(self) -> Loaded:
        assert self._about is not None, "routes are closed until start() has returned"
        return self._about


def _observe(running: asyncio.Future[Sequence[Answered]]) -> None:
    if not running.cancelled() and running.exception() is None:
        for stage, seconds in running.result()[0].stage_s.items():
            metrics.STAGE_SECONDS.labels(stage).observe(seconds)
