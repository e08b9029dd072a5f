"""When to close a batch. Reads no clock and runs no model.

A policy is asked only while the pipeline is free: what arrives while it is busy simply collects (late binding). It
answers `Close` with a count from the head of the queue and the reason, or `Wait` with the time at which to ask again
unless something arrives earlier.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import floor
from typing import Protocol

__all__ = ["POLICIES", "BatchPolicy", "Close", "FixedWindow", "LateBinding", "Queue", "SizeOrAge", "Wait"]


@dataclass(frozen=True, slots=True)
class Queue:
    """What a policy may know of the waiting requests; times are monotonic seconds.

    `tokens` are the prompt lengths from the head of the queue, oldest first, as far as they are known.
    `last_batch` is the size of the batch that ran last, None before the first.
    """

    waiting: int
    oldest_s: float
    newest_s: float
    last_batch: int | None = None
    earliest_deadline_s: float | None = None
    tokens: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Close:
    """Run the first `count` requests now."""

    count: int
    reason: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Ask again at `until_s`, or when something arrives; None: only when something arrives."""

    until_s: float | None


class BatchPolicy(Protocol):
    """The contract of everything in `POLICIES`."""

    def decide(self, queue: Queue, now: float) -> Close | Wait:
        """Close a batch or wait; called only while the pipeline is free."""


@dataclass(frozen=True, slots=True)
class LateBinding:
    """Close at the first of: full, token budget, lone request, lull, oldest too old, a deadline near.

    `lull_s` lets a burst that is still arriving (users who were all answered by the last batch, say) finish arriving;
    a lone request after a lone batch does not pay for it. `deadline_margin_s` is the time that must be left to run.
    """

    max_batch_size: int
    max_wait_s: float
    lull_s: float = 0.0015
    max_batch_tokens: int | None = None
    deadline_margin_s: float = 0.0

    def __post_init__(self) -> None:
        _check(self.max_batch_size, self.max_wait_s)
        if self.lull_s < 0:
            raise ValueError(f"lull_s must be >= 0, got {self.lull_s}")
        if self.max_batch_tokens is not None and self.max_batch_tokens < 1:
            raise ValueError(f"max_batch_tokens must be >= 1, got {self.max_batch_tokens}")

    def decide(self, queue: Queue, now: float) -> Close | Wait:
        """Close a batch or wait; see the class."""
        if queue.waiting == 0:
            return Wait(None)
        affordable = self._affordable(queue)
        if affordable < min(queue.waiting, self.max_batch_size):
            return Close(affordable, "tokens")
        if queue.waiting >= self.max_batch_size:
            return Close(self.max_batch_size, "full")
        if queue.waiting == 1 and queue.last_batch in (None, 1):
            return Close(1, "lone")
        timers = {"lull": queue.newest_s + self.lull_s, "max_wait": queue.oldest_s + self.max_wait_s}
        if queue.earliest_deadline_s is not None:
            timers["deadline"] = queue.earliest_deadline_s - self.deadline_margin_s
        reason, until_s = min(timers.items(), key=lambda timer: timer[1])
        return Close(queue.waiting, reason) if now >= until_s else Wait(until_s)

    def _affordable(self, queue: Queue) -> int:
        """How many requests from the head fit in the padded token budget; at least one, so that none waits forever."""
        if self.max_batch_tokens is None:
            return queue.waiting
        longest = 0
        for count, tokens in enumerate(queue.tokens, start=1):
            longest = max(longest, tokens)
            if longest * count > self.max_batch_tokens:
                return max(1, count - 1)
        return queue.waiting


@dataclass(frozen=True, slots=True)
class SizeOrAge:
    """The simple rule: close when full, or when the oldest request has waited `max_wait_s`."""

    max_batch_size: int
    max_wait_s: float

    def __post_init__(self) -> None:
        _check(self.max_batch_size, self.max_wait_s)

    def decide(self, queue: Queue, now: float) -> Close | Wait:
        """Close a batch or wait; see the class."""
        if queue.waiting == 0:
            return Wait(None)
        if queue.waiting >= self.max_batch_size:
            return Close(self.max_batch_size, "full")
        until_s = queue.oldest_s + self.max_wait_s
        return Close(queue.waiting, "max_wait") if now >= until_s else Wait(until_s)


@dataclass(frozen=True, slots=True)
class FixedWindow:
    """The clockwork rule: a batch every `max_wait_s`, of whoever arrived before the window's end and fits."""

    max_batch_size: int
    max_wait_s: float

    def __post_init__(self) -> None:
        _check(self.max_batch_size, self.max_wait_s)

    def decide(self, queue: Queue, now: float) -> Close | Wait:
        """Close a batch or wait; see the class."""
        if queue.waiting == 0:
            return Wait(None)
        if self.max_wait_s == 0:
            return Close(min(queue.waiting, self.max_batch_size), "window")
        end_s = (floor(queue.oldest_s / self.max_wait_s) + 1) * self.max_wait_s
        return Close(min(queue.waiting, self.max_batch_size), "window") if now >= end_s else Wait(end_s)


def _check(max_batch_size: int, max_wait_s: float) -> None:
    if max_batch_size < 1:
        raise ValueError(f"max_batch_size must be >= 1, got {max_batch_size}")
    if max_wait_s < 0:
        raise ValueError(f"max_wait_s must be >= 0, got {max_wait_s}")


POLICIES: dict[str, Callable[..., BatchPolicy]] = {
    "late_binding": LateBinding,
    "size_or_age": SizeOrAge,
    "fixed_window": FixedWindow,
}
