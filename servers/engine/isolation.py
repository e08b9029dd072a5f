"""What a backend that raises costs: one request's failure where one is to blame, or the engine.

Decides when an engine can answer nothing any more; runs nothing by itself and ends no process.
"""

import logging
from collections.abc import Callable, Iterable
from typing import TypeVar

from servers.backend import Failure

__all__ = ["EngineUnfit", "failed", "one_by_one"]

log = logging.getLogger(__name__)
_FAILURES = 3  # in a row, of requests alone, before the engine is tested
T = TypeVar("T")
_INTERNAL = Failure("internal", "internal error")


class EngineUnfit(RuntimeError):
    """The engine fails whatever it is asked, and must be replaced; the message says what it failed with."""


def failed(error: Exception, size: int) -> None:
    """Log a step over so many jobs that raised. Raises EngineUnfit where its process cannot run anything any more."""
    log.error("a run of %d failed; its questions are run one by one", size, exc_info=error)
    if _is_fatal(error):
        raise EngineUnfit(_text(error)) from error


def one_by_one(calls: Iterable[Callable[[], T]], trial: Callable[[], object]) -> list[T | Failure]:
    """What each call returns, which works for one request; a Failure where it raises. Raises EngineUnfit.

    No request is called a failure before another one was answered: one of the calls, or `trial`, which works for a
    request of our own.
    """
    outcomes: list[T | Failure] = []
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
            _try(trial)
            in_doubt = 0
    if in_doubt == len(outcomes) > 0:
        _try(trial)
    return outcomes


def _try(trial: Callable[[], object]) -> None:
    """Is it the requests, or the engine?"""
    try:
        trial()
    except Exception as error:
        raise EngineUnfit(f"{_text(error)}, for a question of our own too") from error


def _is_fatal(error: BaseException) -> bool:
    """Whether no process survives it: a CUDA error other than a want of memory spoils every later call.

    By name, because torch need not be there.
    """
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return "AcceleratorError" in kinds and "OutOfMemoryError" not in kinds and "out of memory" not in str(error)


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
