"""A run that fails is run again one question at a time, so that a question which cannot be answered fails alone.

Decides when an engine can answer nothing any more; ends no process.
"""

import logging
from collections.abc import Callable, Collection, Sequence
from functools import partial
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
    """Runs of one pipeline. A run that raises costs no more than its own questions are to blame for.

    No question is called a failure before another one was answered: of its neighbours, or else one of our own.
    """

    def __init__(self, pipeline: Runs, steps: Steps, *, max_new_tokens: int) -> None:
        self._pipeline = pipeline
        self._steps = steps
        self._trial = trial_question(max_new_tokens)

    def run(self, asks: Sequence[Ask], left: Callable[[], Collection[int]]) -> list[Answered | Failed]:
        """Answers in order. Raises EngineUnfit."""
        try:
            return self._pipeline.run(asks, left, self._steps)
        except Exception as error:
            self.failed(error, len(asks))
        return self.one_by_one(asks, left)

    def failed(self, error: Exception, size: int) -> None:
        """Log a run that raised. Raises EngineUnfit where its process cannot run anything any more."""
        log.error("a run of %d failed; its questions are run one by one", size, exc_info=error)
        if _is_fatal(error):
            raise EngineUnfit(_text(error)) from error

    def one_by_one(self, asks: Sequence[Ask], left: Callable[[], Collection[int]] = tuple) -> list[Answered | Failed]:
        """The answers to questions of a run that failed, each from a run of its own. Raises EngineUnfit."""
        return self.each([partial(self._alone, ask, partial(_only, place, left)) for place, ask in enumerate(asks)])

    def each(self, calls: Sequence[Callable[[], T]], *, own: Callable[[Ask], object] | None = None) -> list[T | Failed]:
        """What each call returns, which works for one question; a failure where it raises. Raises EngineUnfit.

        `own` does the same with a question of our own; a whole run unless given.
        """
        own = own or self._alone
        outcomes: list[T | Failed] = []
        in_doubt = 0
        for call in calls:
            try:
                outcomes.append(call())
                in_doubt = 0
            except Exception as error:
                log.warning("a question failed alone, too: %s", _text(error))
                if _is_fatal(error):
                    raise EngineUnfit(_text(error)) from error
                outcomes.append(_INTERNAL)
                in_doubt += 1
            if in_doubt == _FAILURES:
                self._try(own)
                in_doubt = 0
        if in_doubt == len(calls) > 0:
            self._try(own)
        return outcomes

    def _alone(self, ask: Ask, left: Callable[[], Collection[int]] = tuple) -> Answered | Failed:
        [answer] = self._pipeline.run([ask], left, self._steps)
        return answer

    def _try(self, own: Callable[[Ask], object]) -> None:
        """Is it the questions, or the engine?"""
        try:
            own(self._trial)
        except Exception as error:
            raise EngineUnfit(f"{_text(error)}, for a question of our own too") from error


def _only(place: int, left: Callable[[], Collection[int]]) -> Collection[int]:
    """Who has left, in a run of the question at that place alone."""
    return (0,) if place in left() else ()


def _is_fatal(error: BaseException) -> bool:
    """Whether no process survives it: a CUDA error other than a want of memory spoils every later call.

    By name, because torch need not be there.
    """
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return "AcceleratorError" in kinds and "OutOfMemoryError" not in kinds and "out of memory" not in str(error)


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
