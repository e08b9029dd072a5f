"""What designs that run a pipeline share: they load it into an engine, check questions, submit them."""

import asyncio
import logging
import platform
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any, Protocol

from servers.backend import Loaded
from servers.backend.job import Job
from servers.engine import Engine, trial_question
from servers.engine.process import EngineProcess
from servers.engine.thread import EngineThread
from servers.errors import BadRequest, UpstreamBusy
from servers.rag.build import check_names
from servers.rag.models import ModelError
from servers.rag.pipeline import Answered, Ask
from servers.settings import Settings
from servers.tasks import Background
from servers.telemetry import metrics

ENGINES: dict[str, Callable[[], Engine]] = {"thread": EngineThread, "process": EngineProcess}
log = logging.getLogger(__name__)
_MOST_PAUSE_S = 30  # between two tries of the warm-up
_VERSIONS = ("torch", "transformers", "sentence-transformers", "numpy", "fastapi", "uvicorn")


class Asked(Protocol):
    """A question from a client."""

    query: str
    k: int
    max_new_tokens: int | None


class RagService:
    """A design's pipeline on one engine. Raises ValueError on settings that name nothing we have."""

    def __init__(self, settings: Settings) -> None:
        check_names(settings)
        self._settings = settings
        self._engine: Engine = ENGINES[settings.engine]()
        self._about: Loaded | None = None
        self._usual_tokens = 1

    async def load(self, background: Background, *, batch_sizes: Sequence[int]) -> None:
        """Load, then run once with each batch size. Raises ModelError."""
        self._about = await self._engine.load(self._settings, background)
        warm = trial_question(self._settings.max_new_tokens)
        self._usual_tokens = self.tokens(warm)
        for size in batch_sizes:
            await self._warm_up([warm] * size)
        background.keep(self._watch(), name="hang watch")

    async def _warm_up(self, asks: Sequence[Ask]) -> None:
        """Run a batch; if a model server is busy, again after its Retry-After. Raises ModelError."""
        while True:
            jobs = [job.done for job in self.submit(asks)]
            answers = await asyncio.gather(*jobs, return_exceptions=True)
            error = next((answer for answer in answers if isinstance(answer, Exception)), None)
            if error is None:
                return
            if not isinstance(error, UpstreamBusy):
                raise ModelError(f"the warm-up failed: {error}")
            pause_s = min(error.retry_after_s or 1, _MOST_PAUSE_S)
            log.warning("the model server is busy (%s): the warm-up goes on in %d s", error, pause_s)
            await asyncio.sleep(pause_s)

    def hangs(self) -> bool:
        """Whether the engine has work and makes no progress."""
        return self._engine.progress.hangs(time.monotonic())

    async def _watch(self) -> None:
        """Log and count each hang once."""
        was_hung = False
        every_s = self._settings.time_limits.hang_s / 4
        while True:
            slept_s = time.monotonic()
            await asyncio.sleep(every_s)
            if time.monotonic() - slept_s > 2 * every_s:
                continue  # this process was paused too, and has not read the engine's reports
            is_hung = self.hangs()
            if is_hung and not was_hung:
                metrics.HANGS.inc()
                stalled_s = self._engine.progress.stalled_s(time.monotonic())
                log.critical("the engine hangs: no step has ended for %.1f s; /ready says no", stalled_s)
            elif was_hung and not is_hung:
                log.warning("the engine goes on; /ready says yes")
            was_hung = is_hung

    async def stop(self) -> None:
        """Stop the engine without waiting for running jobs."""
        await self._engine.stop()

    def check(self, question: Asked) -> Ask:
        """The question with its defaults. Raises BadRequest, which names the field that exceeds its limit."""
        most = min(self._settings.max_k, self._loaded.corpus_size)
        if question.k > most:
            raise BadRequest(f"k: must be <= {most}, got {question.k}")
        limit = self._settings.max_new_tokens
        tokens = limit if question.max_new_tokens is None else question.max_new_tokens
        if tokens > limit:
            raise BadRequest(f"max_new_tokens: must be <= {limit}, got {tokens}")
        return Ask(question.query, question.k, tokens)

    def tokens(self, ask: Ask) -> int:
        """Estimated tokens of prompt and answer, four letters each, for sorting and admission."""
        loaded = self._loaded
        letters = len(ask.query) + ask.k * loaded.document_chars
        tokens = 1 + letters // 4 + ask.max_new_tokens
        return tokens if loaded.positions is None else min(tokens, loaded.positions)

    def work(self, ask: Ask) -> int:
        """Size in usual questions, at least one."""
        return max(1, self.tokens(ask) // self._usual_tokens)

    @property
    def is_continuous(self) -> bool:
        """Whether questions may be submitted while others run."""
        return self._loaded.is_continuous

    def submit(self, asks: Sequence[Ask]) -> list[Job[Answered]]:
        """Jobs of one batch, which runs now or next."""
        return self._engine.submit(asks)

    @property
    def model_name(self) -> str:
        """Name of the generator."""
        return self._loaded.model_name

    def info(self) -> dict[str, Any]:
        """Versions and, once loaded, device, models and corpus."""
        versions = {"python": platform.python_version(), **{name: version(name) for name in _VERSIONS}}
        return {"versions": versions, **(self._about.info if self._about else {})}

    @property
    def _loaded(self) -> Loaded:
        assert self._about is not None, "routes are closed until start() has returned"
        return self._about
