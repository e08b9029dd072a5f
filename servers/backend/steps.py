"""Reports progress of a backend: each step after its end, and a step that may take long before it begins.

Whether the engine hangs is decided in `servers/engine/progress.py`.
"""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_EVERY_S = 0.25  # least time between two reports, unless a long step was announced
_SLACK = 10.0  # a step may take so many times as long as the quickest of its kind, in proportion to its size
_KEPT = 16  # steps of a kind; the quickest of them hides a paused step, or the first one on a GPU


class Steps:
    """The steps of one backend: a call of the embedder, a search, a step of the generator.

    `report` gets the seconds that the next step may take, or 0.0 after a step.
    """

    def __init__(
        self,
        report: Callable[[float], None] = lambda allowed_s: None,
        *,
        hang_s: float = float("inf"),
        most_s: float = float("inf"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`hang_s`: a step that may take longer is announced; `most_s`: the longest that any step may take."""
        self._report = report
        self._hang_s = hang_s
        self._most_s = most_s
        self._clock = clock
        self._every_s = min(_EVERY_S, hang_s / 4)
        self._known: defaultdict[str, deque[tuple[int, float]]] = defaultdict(lambda: deque(maxlen=_KEPT))
        self._reported_s = float("-inf")

    @contextmanager
    def step(self, kind: str, size: int = 1) -> Iterator[None]:
        """Time the block, which is one step over `size` items."""
        allowed_s = self._allowed_s(kind, size)
        is_long = allowed_s > self._hang_s
        if is_long:
            self._report(allowed_s)
        started_s = self._clock()
        try:
            yield
        except BaseException:
            if is_long:
                self._report(0.0)
            raise
        ended_s = self._clock()
        self._known[kind].append((max(1, size), ended_s - started_s))
        if is_long or ended_s - self._reported_s >= self._every_s:
            self._reported_s = ended_s
            self._report(0.0)

    def sleep(self, seconds: float) -> None:
        """Sleep in short steps, for backends that compute nothing."""
        until_s = self._clock() + seconds
        while (left_s := until_s - self._clock()) > 0:
            with self.step("sleep"):
                time.sleep(min(self._every_s, left_s))

    def _allowed_s(self, kind: str, size: int) -> float:
        quickest_s = min((took_s * max(1.0, size / of) for of, took_s in self._known[kind]), default=0.0)
        return min(_SLACK * quickest_s, self._most_s)


UNREPORTED = Steps()
