"""What runs the pipeline for a server: a thread here, a process in engine_process.py. Decides nothing.

A thread shares Python's lock with the event loop: while it computes between two model calls nobody is answered, and
while somebody is answered it does not compute. A process has its own, and costs a copy of each question and answer.
"""

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from servers.rag.build import build
from servers.rag.pipeline import Answered, Ask, Pipeline
from servers.rag.stub import Stub
from servers.settings import Settings

__all__ = ["Engine", "EngineDied", "EngineThread", "Loaded", "about", "load_pipeline"]

log = logging.getLogger(__name__)


class EngineDied(RuntimeError):
    """The engine ended before the server did, and nothing can be answered any more."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the server must know of the pipeline to check questions and to tell of itself."""

    corpus_size: int
    model_name: str
    info: dict[str, Any]


class Engine(Protocol):
    """One pipeline and whoever runs it."""

    async def load(self, settings: Settings) -> Loaded:
        """Build the pipeline. Raises ModelError."""

    async def run(self, asks: Sequence[Ask]) -> Sequence[Answered]:
        """The answers, in order; runs are done one after another, in the order in which they were asked for."""

    async def stop(self) -> None:
        """Give up what runs and waits. Raises EngineDied where there was no engine left to stop."""


class EngineThread:
    """On a thread named `engine`."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine")
        self._pipeline: Pipeline | Stub | None = None

    async def load(self, settings: Settings) -> Loaded:
        """`build` imports torch here, so that the port answers /health meanwhile."""
        self._pipeline = await asyncio.get_running_loop().run_in_executor(self._thread, load_pipeline, settings)
        return about(self._pipeline)

    async def run(self, asks: Sequence[Ask]) -> Sequence[Answered]:
        """See Engine."""
        assert self._pipeline is not None, "loaded before it is run"
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._pipeline.run, asks)

    async def stop(self) -> None:
        """Drop the calls that wait; one that runs cannot be interrupted and is not waited for."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def load_pipeline(settings: Settings) -> Pipeline | Stub:
    """Build it, and say so in the log. Raises ModelError."""
    log.info("loading profile %s", settings.profile)
    pipeline = Stub() if settings.profile == "stub" else build(settings)
    log.info("loaded %s", pipeline.info())
    return pipeline


def about(pipeline: Pipeline | Stub) -> Loaded:
    """What is told of it to the server."""
    return Loaded(pipeline.corpus_size, pipeline.model_name, pipeline.info())
