"""Reports that a run makes progress: each step when it has ended, and beforehand one that may take long.

Decides nothing: whether the engine hangs is `servers/progress.py`.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["UNREPORTED", "Steps"]

_EVERY_S = 0.25  # between two reports, at most, unless a long step was announced
_SLACK = 10.0  # times as long as the longest step of its kind, or as that in proportion to its size
_KEPT = 0.98  # of what is known of a kind, with each further step: one that was stopped must not count for ever


class Steps:
    """The steps of one pipeline's runs: a call of the embedder, a search, a step of the generator.

    `report` is given the seconds that the next step may take, or 0.0 where a step has ended and nothing is announced.
    """

    def __init__(
        self,
        report: Callable[[float], None] = lambda allowed_s: None,
        *,
        hang_s: float = float("inf"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`hang_s`: a step that may take longer than that is announced."""
        self._report = report
        self._hang_s = hang_s
        self._clock = clock
        self._every_s = min(_EVERY_S, hang_s / 4)
        self._known: dict[str, tuple[float, float]] = {}  # by kind, the most seconds of a step, and of an item
        self._reported_s = float("-inf")

    @contextmanager
    def step(self, kind: str, size: int = 1) -> Iterator[None]:
        """Time the block, which is one step over `size` items, at least one."""
        allowed_s = self._allowed_s(kind, size)
        is_long = allowed_s > self._hang_s
        if is_long:
            self._report(allowed_s)
        started_s = self._clock()
        try:
            yield
        except BaseException:
            if is_long:  # what comes next is not
                self._report(0.0)
            raise
        ended_s = self._clock()
        self._learn(kind, ended_s - started_s, max(1, size))
        if is_long or ended_s - self._reported_s >= self._every_s:
            self._reported_s = ended_s
            self._report(0.0)

    def sleep(self, seconds: float) -> None:
        """Take that long, in short steps. For pipelines that compute nothing."""
        until_s = self._clock() + seconds
        while (left_s := until_s - self._clock()) > 0:
            with self.step("sleep"):
                time.sleep(min(self._every_s, left_s))

    def _learn(self, kind: str, took_s: float, size: int) -> None:
        of_step_s, of_item_s = self._known.get(kind, (0.0, 0.0))
        self._known[kind] = max(took_s, _KEPT * of_step_s), max(took_s / size, _KEPT * of_item_s)

    def _allowed_s(self, kind: str, size: int) -> float:
        of_step_s, of_item_s = self._known.get(kind, (0.0, 0.0))
        return _SLACK * max(of_step_s, of_item_s * size)


UNREPORTED = Steps()
