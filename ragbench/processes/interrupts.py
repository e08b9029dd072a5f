"""Ctrl-C and SIGTERM end a command in good order, or in seconds where that fails.

The first signal asks for the end, further ones are ignored. After ORDERLY_S all descendants are killed, which ends all
waits for them; after LAST_S this process exits.
"""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TypeVar

from ragbench.processes.family import descendants, end_all_but, none_outlives, orphans_adopted
from ragbench.processes.loop import loop_factory

T = TypeVar("T")

ORDERLY_S = 6.0  # a server gets 2 s of them after SIGTERM
LAST_S = 9.0
_NUMBERS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """A signal ended the run, and it has cleaned up. `exit_code` is what shells expect: 130 or 143.

    No Exception: as with KeyboardInterrupt, what copes with failures must not take it for one.
    """

    def __init__(self, number: int) -> None:
        self.exit_code = 128 + number
        super().__init__(f"stopped by {signal.Signals(number).name}")


@contextmanager
def interruptible() -> Iterator[None]:
    """For a whole command: a signal raises Interrupted, and no descendant outlives it."""

    def interrupt(number: int) -> None:
        raise Interrupted(number)

    with orphans_adopted(), none_outlives(), _first_signal(interrupt):
        yield


def run_until_done(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which a signal cancels. Raises Interrupted when it is done after one."""
    caught: list[int] = []
    runner = asyncio.Runner(loop_factory=loop_factory)
    loop = runner.get_loop()
    task = loop.create_task(work)

    def interrupt(number: int) -> None:
        caught.append(number)
        if not task.done():
            loop.call_soon_threadsafe(task.cancel)

    with _first_signal(interrupt), runner, suppress(asyncio.CancelledError):
        loop.run_until_complete(task)
    if caught:
        raise Interrupted(caught[0])
    return task.result()


@contextmanager
def _first_signal(interrupt: Callable[[int], None]) -> Iterator[None]:
    """Calls `interrupt` at the first signal, and sees to it that this ends. Only the main thread can hear signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = descendants()
    timers: list[threading.Timer] = []

    def hear(number: int, _: object) -> None:
        if timers:
            return
        timers.append(threading.Timer(ORDERLY_S, end_all_but, [before]))
        timers.append(threading.Timer(LAST_S, _end_now, [number]))
        for timer in timers:
            timer.daemon = True
            timer.start()
        interrupt(number)

    with ExitStack() as undone:
        for number in _NUMBERS:
            undone.callback(signal.signal, number, signal.getsignal(number))
            signal.signal(number, hear)
        try:
            yield
        finally:
            for timer in timers:
                timer.cancel()


def _end_now(number: int) -> None:
    name = signal.Signals(number).name
    print(f"stopped by {name}; not in good order within {LAST_S:g} s", file=sys.stderr, flush=True)
    os._exit(128 + number)
