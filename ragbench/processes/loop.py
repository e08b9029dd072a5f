"""An event loop with exact timers: they are late by tens of microseconds, without spinning.

Python's selectors round epoll's timeout up to whole milliseconds: every timer is late by half of one on average.
Here the wait is done by select(2) on the epoll descriptor itself, which takes microseconds. Elsewhere than on Linux the
loop is asyncio's own; kqueue takes nanoseconds already.
"""

import asyncio
import select
import selectors
import sys

# The kernel may end a wait late by a thousandth of its length (select_estimate_accuracy in fs/select.c, to let several
# timers share one wake-up), so a long wait is cut short of its end and the rest waited for apart.
_LONG_S = 0.02
_CUT = 0.99
_FD_SETSIZE = 1024  # of select(2)


def loop_factory() -> asyncio.AbstractEventLoop:
    """A new event loop with exact timers, for `asyncio.Runner(loop_factory=loop_factory)`."""
    if sys.platform != "linux":
        return asyncio.new_event_loop()
    selector = _ExactEpoll()
    return asyncio.SelectorEventLoop(selector if selector.fileno() < _FD_SETSIZE else None)


if sys.platform == "linux":

    class _ExactEpoll(selectors.EpollSelector):
        """May return early with nothing; the loop then looks at its timers and waits again."""

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            if timeout is None or timeout <= 0:
                return super().select(timeout)
            select.select([self.fileno()], [], [], timeout if timeout < _LONG_S else timeout * _CUT)
            return super().select(0)
