"""Imported by every Python that has this folder on its path: samples the stack of its main thread by CPU time.

SIGUSR1 starts, SIGUSR2 stops and writes `BUDGET`/PID.json: [count, [[module, function], ...]] for each stack, innermost
first. A process that gets neither signal samples nothing. Knows no parts.

The timer counts CPU time of the whole process, user and kernel, at the kernel's tick (4 ms at 250 Hz). Python runs a
handler between two bytecodes: time inside C counts for the line that called it, once if it takes longer than a tick.
Python 3.11 runs none where a coroutine goes on after an `await`: the loop's time before that counts for its first call.
"""

import dis
import gc
import json
import os
import signal
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType

OUT = Path(os.environ["BUDGET"])
EVERY_S = 0.001
_RESUME = dis.opmap["RESUME"]
_stacks: Counter[tuple[tuple[str, CodeType], ...]] = Counter()


def _sample(_: int, frame: FrameType | None) -> None:
    stack = []
    if frame is not None and frame.f_code.co_code[frame.f_lasti] == _RESUME:
        # Nothing of this function has run: the time went by before it was called.
        if frame.f_code is _CALLED_BY_GC and frame.f_locals["phase"] == "stop":
            stack.append(("gc", _CALLED_BY_GC))
        frame = frame.f_back
    while frame is not None:
        stack.append((frame.f_globals.get("__name__", ""), frame.f_code))
        frame = frame.f_back
    _stacks[tuple(stack)] += 1


def collect(phase: str, _: object) -> None:
    """Called before and after each garbage collection, whose samples arrive at the second call."""


_CALLED_BY_GC = collect.__code__


def _start(_: int, frame: FrameType | None) -> None:
    gc.callbacks.append(collect)
    signal.setitimer(signal.ITIMER_PROF, EVERY_S, EVERY_S)


def _stop(_: int, frame: FrameType | None) -> None:
    signal.setitimer(signal.ITIMER_PROF, 0)
    gc.callbacks.remove(collect)
    stacks = [[count, [(name, code.co_qualname) for name, code in stack]] for stack, count in _stacks.items()]
    whole = OUT / f"{os.getpid()}.json"
    partial = whole.with_suffix(".partial")
    partial.write_text(json.dumps(stacks), encoding="utf-8")
    partial.rename(whole)


# SIGPROF keeps its handler for good: one that arrives without a handler ends the process.
signal.signal(signal.SIGPROF, _sample)
signal.signal(signal.SIGUSR1, _start)
signal.signal(signal.SIGUSR2, _stop)
