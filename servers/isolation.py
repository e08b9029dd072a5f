"""A run that fails is run again one question at a time, so that a question which cannot be answered fails alone.

Decides when an engine can answer nothing any more; ends no process.
"""

import logging
from collections.abc import Callable, Collection, Sequence
from typing import Protocol, TypeVar

from servers.rag.failed import Failed
from servers.rag.pipeline import Answered, Ask
from servers.rag.steps import Steps

__all__ = ["EngineUnfit", "Isolation", "Runs", "trial_question"]

log = logging.getLogger(__name__)
_FAILURES = 3  # in a row, of questions alone, before the engine is tested
T = TypeVar("T")
_INTERNAL = Failed("internal", "internal error")


class EngineUnfit(RuntimeError):
    """The engine fails whatever it is asked, and must be replaced; the message says what it failed with."""


class Runs(Protocol):
    """What can be run again: a pipeline."""

    def run(self, asks: Sequence[Ask], left: Callable[[], Collection[int]], steps: Steps) -> list[Answered | Failed]:
        """Answers in order."""


def trial_question(max_new_tokens: int) -> Ask:
    """A question that every pipeline can answer: asked to warm up, and to test an engine that fails."""
    return Ask("Which animals can hover in the air?", k=2, max_new_tokens=max_new_tokens)


class Isolation:
    """Runs of one pipeline. A run that raises costs no more than its own questions are to blame for."""

    def __init__(self, pipeline: Runs, steps: Steps, *, max_new_tokens: int) -> None:
        self._pipeline = pipeline
        self._steps = steps
        self._test = trial_question(max_new_tokens)
        self._failures = 0

    def run(self, asks: Sequence[Ask], left: Callable[[], Collection[int]]) -> list[Answered | Failed]:
        """Answers in order. Raises EngineUnfit."""
        try:
            answers = self._pipeline.run(asks, left, self._steps)
        except Exception as error:
            self.failed(error, len(asks))
            return [self.alone(ask) for ask in asks]
        self._failures = 0
        return answers

    def alone(self, ask: Ask) -> Answered | Failed:
        """The answer to a question of a run that failed. Raises EngineUnfit."""
        return self.attempt(lambda: self._pipeline.run([ask], tuple, self._steps)[0])

    def attempt(self, call: Callable[[], T]) -> T | Failed:
        """What `call` returns, which works for one question. Raises EngineUnfit."""
        try:
            answer = call()
        except Exception as error:
            log.warning("a question failed alone, too: %s", _text(error))
            self._count(error)
            return _INTERNAL
        self._failures = 0
        return answer

    def failed(self, error: Exception, size: int) -> None:
        """Log a run that raised. Raises EngineUnfit where its process cannot run anything any more."""
        log.error("a run of %d failed; its questions are run one by one", size, exc_info=error)
        if _is_fatal(error):
            raise EngineUnfit(_text(error)) from error

    def _count(self, error: Exception) -> None:
        """After some failures in a row: is it the questions, or the engine?"""
        if _is_fatal(error):
            raise EngineUnfit(_text(error)) from error
        self._failures += 1
        if self._failures < _FAILURES:
            return
        try:
            self._pipeline.run([self._test], tuple, self._steps)
        except Exception as again:
            raise EngineUnfit(f"{_text(again)}, for a question of our own too") from again
        self._failures = 0


def _is_fatal(error: BaseException) -> bool:
    """Whether no process survives it: a CUDA error other than a want of memory spoils every later call.

    By name, because torch need not be there.
    """
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return "AcceleratorError" in kinds and "OutOfMemoryError" not in kinds and "out of memory" not in str(error)


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
