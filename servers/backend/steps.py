"""Reports that a run makes progress: each step when it has ended, and beforehand one that may take long.

Decides nothing: whether the engine hangs is `servers/engine/progress.py`.
"""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["UNREPORTED", "Steps"]

_EVERY_S = 0.25  # between two reports, at most, unless a long step was announced
_SLACK = 10.0  # times as long as the quickest of the last steps of its kind, in proportion where that was smaller
_KEPT = 16  # of these, so that one which was stopped, or the first on a GPU, hardly counts


class Steps:
    """The steps of one backend: a call of the embedder, a search, a step of the generator.

    `report` is given the seconds that the next step may take, or 0.0 where a step has ended and nothing is announced.
    """

    def __init__(
        self,
        report: Callable[[float], None] = lambda allowed_s: None,
        *,
        hang_s: float = float("inf"),
        most_s: float = float("inf"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`hang_s`: a step that may take longer than that is announced; `most_s`: none may take longer than that."""
        self._report = report
        self._hang_s = hang_s
        self._most_s = most_s
        self._clock = clock
        self._every_s = min(_EVERY_S, hang_s / 4)
        self._known: defaultdict[str, deque[tuple[int, float]]] = defaultdict(lambda: deque(maxlen=_KEPT))
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
        self._known[kind].append((max(1, size), ended_s - started_s))
        if is_long or ended_s - self._reported_s >= self._every_s:
            self._reported_s = ended_s
            self._report(0.0)

    def sleep(self, seconds: float) -> None:
        """Take that long, in short steps. For pipelines that compute nothing."""
        until_s = self._clock() + seconds
        while (left_s := until_s - self._clock()) > 0:
            with self.step("sleep"):
                time.sleep(min(self._every_s, left_s))

    def _allowed_s(self, kind: str, size: int) -> float:
        quickest_s = min((took_s * max(1.0, size / of) for of, took_s in self._known[kind]), default=0.0)
        return min(_SLACK * quickest_s, self._most_s)


UNREPORTED = Steps()
