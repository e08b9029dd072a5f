"""When to close a batch. Reads no clock and runs no model.

A policy is asked while a request waits and the pipeline is free, and once while it is busy if a full batch waits:
otherwise requests only collect then (late binding). It returns `Close` with a count from the head of the queue and the
reason, or `Wait` with the time at which to ask again unless a request arrives earlier.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import fmod, inf
from typing import Protocol

from policies.costs import Costs
from policies.think_time import Back, ThinkTimes

_EXPECTED = 0.5  # share of returning users below which waiting for them costs more than it gains


@dataclass(frozen=True, slots=True)
class Queue:
    """The waiting requests, as a policy sees them; times are monotonic seconds.

    `tokens`: prompt lengths, oldest first, as far as they are known. `last_batch`: size of the last batch, None before
    the first; `last_run_s`: its duration. `passed_over_s`, in the order of `tokens`: when each request was first left
    out of a batch in its turn, or None. `ended_s`: end of the last batch; `since_last`: arrivals since then;
    `returning`: share of answered users who ask again at once (`policies/returning.py`). `costs`: of the batches that
    ran; `think_times`: of the users, None where batches wait for nobody.
    """

    waiting: int
    oldest_s: float
    newest_s: float
    last_batch: int | None = None
    earliest_deadline_s: float | None = None
    tokens: Sequence[int] = ()
    last_run_s: float = 0.0
    passed_over_s: Sequence[float | None] = ()
    ended_s: float | None = None
    since_last: int = 0
    returning: float = 1.0
    costs: Costs | None = None
    think_times: ThinkTimes | None = None


@dataclass(frozen=True, slots=True)
class Close:
    """Run the first `count` requests now, or the `count` requests at the places `picked`."""

    count: int
    reason: str
    picked: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Raise ValueError on an empty batch, and unless `picked` are `count` different places."""
        if self.count < 1:
            raise ValueError(f"count must be >= 1, got {self.count}")
        if self.picked is None:
            return
        if len(self.picked) != self.count or len(set(self.picked)) != self.count or min(self.picked) < 0:
            raise ValueError(f"picked must be {self.count} different places >= 0, got {self.picked}")

    def check(self, waiting: int) -> None:
        """Raise ValueError if a queue of `waiting` requests lacks these places. A larger `count` takes all."""
        if self.picked is not None and max(self.picked) >= waiting:
            raise ValueError(f"picked must name places < {waiting}, got {self.picked}")


@dataclass(frozen=True, slots=True)
class Wait:
    """Ask again at `until_s`, or when something arrives; None: only when something arrives."""

    until_s: float | None


class BatchPolicy(Protocol):
    """The contract of everything in `POLICIES`."""

    def decide(self, queue: Queue, now: float) -> Close | Wait:
        """Close a batch or wait; called only while a request waits and the pipeline is free."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The two limits that every batching policy has. Raises ValueError on bad ones."""

    max_batch_size: int
    max_wait_s: float

    def __post_init__(self) -> None:
        if self.max_batch_size < 1:
            raise ValueError(f"max_batch_size must be >= 1, got {self.max_batch_size}")
        if self.max_wait_s < 0:
            raise ValueError(f"max_wait_s must be >= 0, got {self.max_wait_s}")


@dataclass(frozen=True, slots=True)
class LateBinding(Bounds):
    """Close at the first of: full, token budget, lone request, all back, none expected, lull, too old, a deadline.

    Closed-loop users who were answered by the last batch ask again at once and should find the next one open. It stays
    open for `lull_s` after the last batch's end or the newest arrival, or until as many requests came as were answered.
    It does not wait if users do not come back (`returning` is below a half, as in open loop), nor for a lone request
    after a lone batch. `deadline_margin_s` is the time that the run must have left.
    """

    lull_s: float = 0.0015
    max_batch_tokens: int | None = None
    deadline_margin_s: float = 0.0

    def __post_init__(self) -> None:
        Bounds.__post_init__(self)
        if self.lull_s < 0:
            raise ValueError(f"lull_s must be >= 0, got {self.lull_s}")
        if self.max_batch_tokens is not None and self.max_batch_tokens < 1:
            raise ValueError(f"max_batch_tokens must be >= 1, got {self.max_batch_tokens}")

    def decide(self, queue: Queue, now: float) -> Close | Wait:
        """Close a batch or wait, as the class says."""
        affordable = self._affordable(queue)
        if affordable < min(queue.waiting, self.max_batch_size):
            return Close(affordable, "tokens")
        if queue.waiting >= self.max_batch_size:
            return Close(self.max_batch_size, "full")
        reason, until_s = self._patience(queue)
        timers = {reason: until_s, "max_wait": queue.oldest_s + self.max_wait_s}
        if queue.earliest_deadline_s is not None:
            timers["deadline"] = queue.earliest_deadline_s - self.deadline_margin_s
        reason, until_s = min(timers.items(), key=lambda timer: timer[1])
        return Close(queue.waiting, reason) if now >= until_s else Wait(until_s)

    def _patience(self, queue: Queue) -> tuple[str, float]:
        """Until when to wait for those who may come back, and why no longer; -inf: there is nobody to wait for."""
        if queue.waiting == 1 and queue.last_batch in (None, 1):
            return "lone", -inf
        if queue.last_batch is not None and queue.ended_s is not None and queue.since_last >= queue.last_batch:
            return "back", -inf
        if queue.returning < _EXPECTED:
            return "free", -inf
        return "lull", (queue.newest_s if queue.ended_s is None else max(queue.newest_s, queue.ended_s)) + self.lull_s

    def _affordable(self, queue: Queue) -> int:
        """How many requests from the head fit in the padded token budget, at least one."""
        if self.max_batch_tokens is None:
            return queue.waiting
        longest = 0
        for count, tokens in enumerate(queue.tokens, start=1):
            longest = max(longest, tokens)
            if longest * count > self.max_batch_tokens:
                return max(1, count - 1)
        return queue.waiting


@dataclass(frozen=True, slots=True)
class LengthAware(LateBinding):
    """Late binding that picks, of `look_ahead` batches' worth of requests, those with the least padding.

    The oldest request is always picked. A request that was passed over runs within `max_wait_s` of its turn: all of
    them run when another batch would be too late for the first one. There are never more than one batch holds.
    """

    look_ahead: int = 4

    def __post_init__(self) -> None:
        LateBinding.__post_init__(self)  # super() does not know a dataclass with slots
        if self.look_ahead < 1:
            raise ValueError(f"look_ahead must be >= 1, got {self.look_ahead}")

    def decide(self, queue: Queue, now: float) -> Close | Wait:
        """Close a batch or wait, as the class says."""
        closed = LateBinding.decide(self, queue, now)
        seen = min(len(queue.tokens), self.look_ahead * self.max_batch_size)
        if isinstance(closed, Wait) or closed.count >= seen:
            return closed
        passed = [place for place, since_s in enumerate(queue.passed_over_s[:seen]) if since_s is not None]
        if any(now - (queue.passed_over_s[place] or 0.0) + queue.last_run_s > self.max_wait_s for place in passed):
            others = [place for place in range(seen) if place not in passed]
            return Close(closed.count, "overdue", tuple(sorted([*passed, *others][: closed.count])))
        picked = self._alike(queue.tokens[:seen], closed.count)
        behind = {*passed, *range(closed.count)} - set(picked)
        return closed if len(behind) > self.max_batch_size else Close(closed.count, closed.reason, picked)

    @staticmethod
    def _alike(tokens: Sequence[int], count: int) -> tuple[int, ...]:
        """Places of `count` requests, the first among them, that are padded least: neighbours in order of length."""
        order = sorted(range(len(tokens)), key=lambda place: (tokens[place], place))
        first = order.index(0)
        starts = range(max(0, first - count + 1), min(first, len(order) - count) + 1)
        runs = [order[start : start + count] for start in starts]

        def padding(run: Sequence[int]) -> int:
            return tokens[run[-1]] * count - sum(tokens[place] for place in run)

        least = min(runs, key=padding)
        return tuple(sorted(least))


@dataclass(frozen=True, slots=True)
class CostAware(LateBinding):
    """Late binding that waits for returning users as long as the wait costs less than the fixed cost that it saves.

    N users who are not waited for split into two groups: batches of N / 2, a fixed cost for each. If a share R of the
    answered is back when the next batch closes, batches are of N / (2 - R). The rule closes at the moment that makes
    the most requests a second, where the idle time of the pipeline is a part of the run. Until costs and think times
    are known, it is late binding.
    """

    def _patience(self, queue: Queue) -> tuple[str, float]:
        line = queue.costs.line() if queue.costs is not None else None
        curve = queue.think_times.curve() if queue.think_times is not None else ()
        if line is None or not curve or queue.ended_s is None or queue.last_batch is None:
            return LateBinding._patience(self, queue)
        if queue.since_last >= queue.last_batch:
            return "back", -inf
        users = queue.last_batch + max(0, queue.waiting - queue.since_last)
        idle_s = max(0.0, queue.oldest_s - queue.ended_s)

        def answered_rps(back: Back) -> float:
            size = min(self.max_batch_size, users / (2 - back.share))
            return size / (line.run_s(size) + back.after_s - idle_s)

        at_once = Back(idle_s, max((back.share for back in curve if back.after_s <= idle_s), default=0.0))
        best = max([at_once, *(back for back in curve if back.after_s > idle_s)], key=answered_rps)
        if best is at_once or curve[-1].share < _EXPECTED:
            return "free", -inf
        return "cost", queue.ended_s + best.after_s


@dataclass(frozen=True, slots=True)
class SizeOrAge(Bounds):
    """The simple rule: close when full, or when the oldest request has waited `max_wait_s`."""

    def decide(self, queue: Queue, now: float) -> Close | Wait:
        """Close a batch or wait, as the class says."""
        if queue.waiting >= self.max_batch_size:
            return Close(self.max_batch_size, "full")
        until_s = queue.oldest_s + self.max_wait_s
        return Close(queue.waiting, "max_wait") if now >= until_s else Wait(until_s)


@dataclass(frozen=True, slots=True)
class FixedWindow(Bounds):
    """A batch every `max_wait_s`, of the requests that arrived before the end of the window and fit."""

    def decide(self, queue: Queue, now: float) -> Close | Wait:
        """Close a batch or wait, as the class says."""
        if self.max_wait_s == 0:
            return Close(min(queue.waiting, self.max_batch_size), "window")
        end_s = queue.oldest_s - fmod(queue.oldest_s, self.max_wait_s) + self.max_wait_s
        return Close(min(queue.waiting, self.max_batch_size), "window") if now >= end_s else Wait(end_s)


POLICIES: dict[str, Callable[..., BatchPolicy]] = {
    "late_binding": LateBinding,
    "length_aware": LengthAware,
    "size_or_age": SizeOrAge,
    "fixed_window": FixedWindow,
    "cost_aware": CostAware,
}
