"""Error isolation: a request that makes the backend raise fails alone; a backend that fails at all ends the engine."""

import logging
from collections.abc import Callable, Iterable
from typing import TypeVar

from servers.backend import Failure

log = logging.getLogger(__name__)
_FAILURES = 3  # failures of single requests in a row, after which the engine is tested
T = TypeVar("T")
_INTERNAL = Failure("internal", "internal error")


class EngineUnfit(RuntimeError):
    """The engine fails whatever the request, and must be replaced. The message says with which error."""


def failed(error: Exception, size: int) -> None:
    """Log a step over `size` jobs that raised. Raises EngineUnfit if the error spoils the process."""
    log.error("a run of %d failed; its questions are run one by one", size, exc_info=error)
    if _is_fatal(error):
        raise EngineUnfit(_text(error)) from error


def one_by_one(calls: Iterable[Callable[[], T]], trial: Callable[[], object]) -> list[T | Failure]:
    """What each call, for one request, returns, or a Failure if it raises. Raises EngineUnfit.

    After three failures in a row, and if all calls fail, `trial` runs a request that must succeed: if it raises, the
    engine is to blame and not the requests.
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
    try:
        trial()
    except Exception as error:
        raise EngineUnfit(f"{_text(error)}, for a question of our own too") from error


def _is_fatal(error: BaseException) -> bool:
    """Whether the error spoils the process, as a CUDA error other than out of memory does.

    By name, because torch may not be imported.
    """
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return "AcceleratorError" in kinds and "OutOfMemoryError" not in kinds and "out of memory" not in str(error)


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
