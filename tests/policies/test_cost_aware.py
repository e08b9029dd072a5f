"""The rule that knows costs: its decisions one at a time, and its laws in virtual time with users and arrivals."""

import random
from collections.abc import Callable
from dataclasses import replace
from heapq import heappop, heappush
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.batching import Close, CostAware, LateBinding, Queue, Wait
from policies.costs import Costs
from policies.think_time import ThinkTimes

RULE = CostAware(max_batch_size=8, max_wait_s=0.5, lull_s=0.001)


def costs(fixed_s: float, each_s: float) -> Costs:
    made = Costs()
    for size in range(1, 9):
        made.ran(size, fixed_s + each_s * size)
    return made


def away(*after_s: float, answered: int = 4, length_s: float = 0.1) -> ThinkTimes:
    """Sixteen rounds, in each of which users are back so long after the end of a batch of `answered`."""
    times = ThinkTimes()
    for number in range(17):
        times.ended(number * length_s, answered)
        for each in after_s:
            times.arrived(number * length_s + each)
    return times


def seen(line: Costs, times: ThinkTimes, *, waiting: int = 4, since_last: int = 0, oldest_s: float = 9.95) -> Queue:
    """As a batch of four has ended at 10 s."""
    return Queue(
        waiting, oldest_s, oldest_s, last_batch=4, ended_s=10.0, since_last=since_last, costs=line, think_times=times
    )


def test_it_waits_for_users_while_that_costs_less_than_a_run() -> None:
    """Four wait, four are back after 10 ms: one batch of eight in place of two of four saves one fixed cost."""
    times = away(0.01, 0.01, 0.01, 0.01)
    assert RULE.decide(seen(costs(0.012, 0.001), times), 10.0) == Wait(pytest.approx(10.01))
    assert RULE.decide(seen(costs(0.008, 0.001), times), 10.0) == Close(4, "free")
    assert RULE.decide(seen(costs(0.012, 0.050), times), 10.0) == Wait(pytest.approx(10.01)), (
        "the price of each is paid"
    )
    assert RULE.decide(seen(costs(0.008, 0.050), times), 10.0) == Close(4, "free")


def test_it_closes_when_all_are_back_or_when_they_should_be() -> None:
    line, times = costs(0.03, 0.001), away(0.01, 0.01, 0.01, 0.01)
    assert RULE.decide(seen(line, times, waiting=7, since_last=3), 10.009) == Wait(pytest.approx(10.01))
    assert RULE.decide(seen(line, times, waiting=7, since_last=3), 10.0101) == Close(7, "cost")
    assert RULE.decide(seen(line, times, waiting=7, since_last=4), 10.005) == Close(7, "back")
    assert RULE.decide(seen(line, times, waiting=8, since_last=4), 10.005) == Close(8, "full")


def test_it_waits_for_the_many_and_not_for_the_straggler() -> None:
    """Of eight, seven are back after 5 ms, the last after 40."""
    times = away(*[0.005] * 7, 0.04, answered=8)
    eight = replace(seen(costs(0.03, 0.001), times, waiting=2, since_last=2, oldest_s=10.004), last_batch=8)
    assert RULE.decide(eight, 10.004) == Wait(pytest.approx(10.005))


def test_idle_time_that_passed_before_anybody_waited_is_no_price() -> None:
    """All are back within 12 to 20 ms: from 12 ms on it costs 8 ms more to have them all, and a run costs 10."""
    times = away(0.012, 0.016, 0.018, 0.02)
    assert RULE.decide(seen(costs(0.02, 0.001), times, waiting=1, since_last=1, oldest_s=10.012), 10.012) == Wait(
        pytest.approx(10.02)
    )
    cheap = seen(costs(0.008, 0.001), times, waiting=1, since_last=1, oldest_s=10.012)
    assert RULE.decide(cheap, 10.012) == Close(1, "free")


def test_a_batch_that_is_nearly_full_waits_for_little() -> None:
    """Fourteen users, batches of eight: without a wait they are of seven, and the eighth saves little."""
    nearly = replace(seen(costs(0.012, 0.001), away(*[0.01] * 8, answered=8), waiting=6), last_batch=8)
    assert RULE.decide(nearly, 10.0) == Close(6, "free")


def test_it_waits_for_nobody_where_few_come_back() -> None:
    assert RULE.decide(seen(costs(0.03, 0.001), away(0.001)), 10.0) == Close(4, "free")


def test_in_open_loop_it_waits_for_nobody() -> None:
    rng = random.Random(1)
    times = away(*sorted(rng.uniform(0, 0.1) for _ in range(4)))
    assert RULE.decide(seen(costs(0.09, 0.001), times), 10.0) == Close(4, "free")


def test_until_it_knows_it_is_late_binding() -> None:
    plain = LateBinding(max_batch_size=8, max_wait_s=0.5, lull_s=0.001)
    for queue in (
        Queue(1, 10.0, 10.0),
        Queue(2, 10.0, 10.0, last_batch=3),
        seen(Costs(), away(0.01, 0.01)),
        seen(costs(0.01, 0.001), ThinkTimes()),
        replace(seen(costs(0.01, 0.001), ThinkTimes()), think_times=None, returning=0.0),
    ):
        assert RULE.decide(queue, 10.0) == plain.decide(queue, 10.0)


def test_a_deadline_and_the_longest_wait_come_first() -> None:
    queue = seen(costs(0.05, 0.001), away(0.03, 0.03, 0.03, 0.03))
    assert RULE.decide(replace(queue, earliest_deadline_s=10.02), 10.0) == Wait(10.02)
    assert CostAware(8, max_wait_s=0.06).decide(queue, 10.0) == Wait(pytest.approx(10.01))


class Loop:
    """Virtual time: a pipeline under a policy, with requests that are due, and users who come back."""

    def __init__(self, policy: CostAware, *, run_s: Callable[[int], float], noted_s: Callable[[float], float]) -> None:
        self.policy, self.run_s, self.noted_s = policy, run_s, noted_s
        self.costs, self.times = Costs(), ThinkTimes()
        self.coming: list[tuple[float, int]] = []
        self.batches: list[tuple[float, list[int]]] = []
        self.arrived_s: dict[int, float] = {}

    def run(self, *, most: int, away_s: Callable[[], float | None]) -> None:
        """Until nobody comes, or `most` requests came; who is answered comes back after `away_s`, or never."""
        now, waiting, last = 0.0, [], {}
        while self.coming or waiting:
            while self.coming and self.coming[0][0] <= now:
                due_s, number = heappop(self.coming)
                self._arrive(due_s, number, waiting, last)
            if not waiting:
                now = self.coming[0][0]
                continue
            ends = (self.arrived_s[waiting[0]], self.arrived_s[waiting[-1]])
            queue = Queue(len(waiting), *ends, **last, costs=self.costs, think_times=self.times)
            decision = self.policy.decide(queue, now)
            if isinstance(decision, Wait):
                moment = min([decision.until_s or inf, *(due_s for due_s, _ in self.coming[:1])])
                assert moment > now, "a policy must not ask to be asked again at once"
                now = moment
                continue
            self.batches.append((now, waiting[: decision.count]))
            run_s, batch = self.run_s(decision.count), waiting[: decision.count]
            waiting = waiting[decision.count :]
            end_s = now + run_s
            while self.coming and self.coming[0][0] <= end_s:
                due_s, number = heappop(self.coming)
                self._arrive(due_s, number, waiting, last)
            now = end_s
            self.costs.ran(len(batch), self.noted_s(run_s))
            self.times.ended(now, len(batch))
            last = {"last_batch": len(batch), "ended_s": now, "since_last": 0}
            for _ in batch:
                pause_s = away_s()
                if pause_s is not None and len(self.arrived_s) + len(self.coming) < most:
                    heappush(self.coming, (now + pause_s, len(self.arrived_s) + len(self.coming)))

    def _arrive(self, due_s: float, number: int, waiting: list[int], last: dict[str, float]) -> None:
        self.arrived_s[number] = due_s
        self.times.arrived(due_s)
        waiting.append(number)
        if "since_last" in last:
            last["since_last"] += 1


@given(
    gaps=st.lists(st.floats(0.0, 0.05), min_size=1, max_size=40),
    max_batch_size=st.integers(1, 8),
    max_wait_s=st.floats(0.0, 0.1),
    line=st.tuples(st.floats(0.0, 0.05), st.floats(0.0001, 0.01)),
    longest_away_s=st.one_of(st.none(), st.floats(0.0, 0.03)),
    garbage=st.sampled_from([None, 0.0, -1.0, inf, nan, 1e9]),
    seed=st.integers(0, 99),
)
def test_laws_with_users_and_without(
    gaps: list[float],
    max_batch_size: int,
    max_wait_s: float,
    line: tuple[float, float],
    longest_away_s: float | None,
    garbage: float | None,
    seed: int,
) -> None:
    """Nothing lost, nothing twice, order kept, batch <= max, wait <= max unless busy, whatever durations are noted."""
    rng = random.Random(seed)
    loop = Loop(
        CostAware(max_batch_size=max_batch_size, max_wait_s=max_wait_s),
        run_s=lambda size: line[0] + line[1] * size,
        noted_s=lambda run_s: garbage if garbage is not None and rng.random() < 0.3 else run_s,
    )
    for number in range(len(gaps)):
        heappush(loop.coming, (sum(gaps[: number + 1]), number))
    loop.run(most=150, away_s=lambda: None if longest_away_s is None else rng.uniform(0, longest_away_s))
    ran = [number for _, batch in loop.batches for number in batch]
    assert sorted(ran) == list(range(len(loop.arrived_s)))
    assert ran == sorted(ran, key=lambda number: (loop.arrived_s[number], ran.index(number)))
    free_s = 0.0
    for start_s, batch in loop.batches:
        assert 1 <= len(batch) <= max_batch_size
        assert start_s <= max(free_s, loop.arrived_s[batch[0]] + max_wait_s) + 1e-9
        free_s = start_s + loop.run_s(len(batch))


@pytest.mark.parametrize(("fixed_s", "is_one_group"), [(0.03, True), (0.002, False)])
def test_users_end_up_in_one_group_where_that_pays(fixed_s: float, is_one_group: bool) -> None:
    """Six users who are away for 4 to 10 ms, in two groups at first."""
    rng = random.Random(1)
    loop = Loop(
        CostAware(max_batch_size=8, max_wait_s=0.5),
        run_s=lambda size: fixed_s + 0.004 * size,
        noted_s=lambda run_s: run_s,
    )
    for number in range(6):
        heappush(loop.coming, (0.01 * (number // 3), number))
    loop.run(most=3000, away_s=lambda: rng.uniform(0.004, 0.01))
    sizes = [len(batch) for _, batch in loop.batches[-100:-5]]
    assert (sum(sizes) / len(sizes) > 5) == is_one_group
