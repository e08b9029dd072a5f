"""The one thread that touches the models, so that the event loop never blocks. Decides nothing."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

__all__ = ["Engine"]

P = ParamSpec("P")
T = TypeVar("T")


class Engine:
    """Runs blocking calls one after another on a thread named `engine`."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine")

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The function's result; calls are served in the order in which they were made."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: function(*args, **kwargs))

    def stop(self) -> None:
        """Drop the calls that wait; one that runs cannot be interrupted and is not waited for."""
        self._thread.shutdown(wait=False, cancel_futures=True)
