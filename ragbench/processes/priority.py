"""Real-time scheduling for the client, which may share cores with the server that it measures.

A server that computes on every core makes the client wait for the end of a time slice, some 3 ms, before it may send.
With real-time scheduling it does not wait; it needs so little that the server hardly notices. Linux gives it to
root and to whoever has a limit for it (`ulimit -r`); elsewhere nothing changes, and late sends are a verdict.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def served_first() -> Iterator[bool]:
    """Real-time scheduling for this thread, where it is allowed. -> whether it is."""
    allowed = False
    with suppress(AttributeError, OSError):  # a system that has no such call, or a user who may not
        # Children, such as servers, start with ordinary scheduling.
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
        allowed = True
    try:
        yield allowed
    finally:
        if allowed:
            # Without the flag an ordinary user is refused (sched(7)), and would stay real-time.
            os.sched_setscheduler(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))


def may_be_served_first() -> bool:
    """Whether `served_first` has an effect here."""
    with served_first() as allowed:
        return allowed
