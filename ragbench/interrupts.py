"""Run a coroutine that Ctrl-C and SIGTERM end in good order. What good order is, the coroutine decides."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

from ragbench.loop import loop_factory

T = TypeVar("T")


class Interrupted(Exception):
    """A signal ended the run, and it has cleaned up. `exit_code` is what shells expect: 130 or 143."""

    def __init__(self, number: int) -> None:
        self.exit_code = 128 + number
        super().__init__(f"stopped by {signal.Signals(number).name}")


def run_until_done(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`. The first SIGINT or SIGTERM cancels it, further ones are ignored while it cleans up.

    Raises Interrupted when it is done after a signal.
    """
    caught: list[int] = []

    async def main() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def interrupt(number: int) -> None:
            if not caught:
                task.cancel()
            caught.append(number)

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, interrupt, number)
        return await work

    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            done = runner.run(main())
    except asyncio.CancelledError:
        if not caught:
            raise
    if caught:
        raise Interrupted(caught[0])
    return done
