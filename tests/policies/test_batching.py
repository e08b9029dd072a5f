"""Batch policies one decision at a time, and in virtual time against a pipeline of known speed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.batching import POLICIES, Close, FixedWindow, LateBinding, LengthAware, Queue, SizeOrAge, Wait

RULE = LateBinding(max_batch_size=4, max_wait_s=0.5, lull_s=0.01)


@pytest.mark.parametrize(
    ("queue", "now", "decision"),
    [
        (Queue(4, 0.0, 0.0), 0.0, Close(4, "full")),
        (Queue(9, 0.0, 0.0), 0.0, Close(4, "full")),
        (Queue(1, 0.0, 0.0), 0.0, Close(1, "lone")),
        (Queue(1, 0.0, 0.0, last_batch=1), 0.0, Close(1, "lone")),
        (Queue(1, 0.0, 0.0, last_batch=3), 0.0, Wait(0.01)),
        (Queue(2, 0.0, 0.004), 0.005, Wait(0.014)),
        (Queue(2, 0.0, 0.004), 0.014, Close(2, "lull")),
        (Queue(2, 0.0, 0.495), 0.5, Close(2, "max_wait")),
        (Queue(2, 0.0, 0.004, last_batch=3, ended_s=0.1), 0.1, Wait(0.11)),
        (Queue(2, 0.0, 0.004, last_batch=3, ended_s=0.1), 0.11, Close(2, "lull")),
        (Queue(3, 0.0, 0.25, last_batch=2, ended_s=0.1, since_last=1), 0.25, Wait(0.26)),
        (Queue(3, 0.0, 0.25, last_batch=2, ended_s=0.1, since_last=2), 0.25, Close(3, "back")),
        (Queue(2, 0.0, 0.004, last_batch=3, ended_s=0.1, returning=0.4), 0.1, Close(2, "free")),
        (Queue(2, 0.0, 0.0, earliest_deadline_s=0.005), 0.004, Wait(0.005)),
        (Queue(2, 0.0, 0.0, earliest_deadline_s=0.005), 0.005, Close(2, "deadline")),
    ],
)
def test_late_binding_names_the_reason(queue: Queue, now: float, decision: Close | Wait) -> None:
    assert RULE.decide(queue, now) == decision


def test_late_binding_cuts_at_the_padded_token_budget() -> None:
    rule = LateBinding(max_batch_size=8, max_wait_s=0.5, max_batch_tokens=100)
    assert rule.decide(Queue(4, 0.0, 0.0, tokens=(20, 30, 40, 10)), 0.0) == Close(2, "tokens")
    assert rule.decide(Queue(2, 0.0, 0.0, tokens=(500, 10)), 0.0) == Close(1, "tokens")
    assert rule.decide(Queue(2, 0.0, 0.0, tokens=(50, 50)), 0.0) == Wait(0.0015), "a budget may be spent wholly"


def test_a_deadline_closes_a_batch_as_long_before_it_as_a_run_takes() -> None:
    rule = LateBinding(max_batch_size=4, max_wait_s=0.5, lull_s=0.01, deadline_margin_s=0.002)
    assert rule.decide(Queue(2, 0.0, 0.0, earliest_deadline_s=0.005), 0.0) == Wait(0.003)


def test_the_least_limits_are_taken() -> None:
    assert LengthAware(1, 0.0, lull_s=0.0, max_batch_tokens=1, look_ahead=1).decide(queue(9, 9), 0.0).count == 1
    assert Close(1, "full").check(1) is None


def test_size_or_age_makes_a_lone_request_wait() -> None:
    rule = SizeOrAge(max_batch_size=4, max_wait_s=0.5)
    assert rule.decide(Queue(1, 1.0, 1.0, last_batch=1), 1.0) == Wait(1.5)
    assert rule.decide(Queue(1, 1.0, 1.0, last_batch=1), 1.5) == Close(1, "max_wait")
    assert rule.decide(Queue(4, 1.0, 1.0), 1.0) == Close(4, "full")


def test_fixed_window_closes_at_its_ticks_whatever_waits() -> None:
    rule = FixedWindow(max_batch_size=4, max_wait_s=0.5)
    assert rule.decide(Queue(1, 1.25, 1.25, last_batch=1), 1.3) == Wait(1.5)
    assert rule.decide(Queue(9, 1.25, 1.3), 1.4) == Wait(1.5)
    assert rule.decide(Queue(9, 1.1, 1.3), 1.5) == Close(4, "window")
    assert rule.decide(Queue(5, 1.1, 1.6), 1.6) == Close(4, "window")
    assert FixedWindow(max_batch_size=4, max_wait_s=0.0).decide(Queue(2, 1.0, 1.0), 1.0) == Close(2, "window")


@pytest.mark.parametrize("bad", [{"max_batch_size": 0}, {"max_wait_s": -1.0}])
def test_every_policy_refuses_bad_limits(bad: dict[str, float]) -> None:
    for make in POLICIES.values():
        with pytest.raises(ValueError, match=next(iter(bad))):
            make(**{"max_batch_size": 4, "max_wait_s": 0.5, **bad})


def run(policy: LateBinding | SizeOrAge, arrivals: list[float], service_s: float) -> list[tuple[float, list[int]]]:
    """Virtual time: (start, requests) of every batch, for a pipeline that takes `service_s` for any batch."""
    now, waiting, batches, coming = 0.0, [], [], list(enumerate(arrivals))
    last_batch = None
    while coming or waiting:
        while coming and coming[0][1] <= now:
            waiting.append(coming.pop(0))
        if not waiting:
            now = coming[0][1]
            continue
        decision = policy.decide(Queue(len(waiting), waiting[0][1], waiting[-1][1], last_batch), now)
        if isinstance(decision, Wait):
            moments = [coming[0][1]] if coming else []
            moments += [decision.until_s] if decision.until_s is not None else []
            assert min(moments) > now, "a policy must not ask to be asked again at once"
            now = min(moments)
            continue
        batches.append((now, [number for number, _ in waiting[: decision.count]]))
        waiting, last_batch, now = waiting[decision.count :], decision.count, now + service_s
    return batches


@pytest.mark.parametrize("name", POLICIES)
@given(
    gaps=st.lists(st.floats(0.0, 0.3), min_size=1, max_size=60),
    max_batch_size=st.integers(1, 8),
    max_wait_s=st.floats(0.0, 0.4),
    service_s=st.floats(0.001, 0.2),
)
def test_laws_of_every_policy(
    name: str, gaps: list[float], max_batch_size: int, max_wait_s: float, service_s: float
) -> None:
    """Nothing lost, nothing twice, order kept, batch <= max, wait <= max_wait_s unless the pipeline was busy."""
    arrivals = [sum(gaps[: end + 1]) for end in range(len(gaps))]
    policy = POLICIES[name](max_batch_size=max_batch_size, max_wait_s=max_wait_s)
    batches = run(policy, arrivals, service_s)
    assert [number for _, batch in batches for number in batch] == list(range(len(arrivals)))
    free_at = 0.0
    for start, batch in batches:
        assert 1 <= len(batch) <= max_batch_size
        oldest = arrivals[batch[0]]
        assert start <= max(free_at, oldest + max_wait_s) + 1e-9
        free_at = start + service_s


def test_the_lull_keeps_closed_loop_users_in_one_cohort() -> None:
    """Four users whose requests return 3 ms apart are served together; without the lull the first one splits off."""
    arrivals = [0.0, 0.001, 0.002, 0.003]
    busy_before = Queue(1, 0.0, 0.0, last_batch=4)
    assert LateBinding(8, 0.5, lull_s=0.0015).decide(busy_before, 0.0) == Wait(0.0015)
    assert LateBinding(8, 0.5, lull_s=0.0).decide(busy_before, 0.0) == Close(1, "lull")
    [(_, batch)] = run(SizeOrAge(max_batch_size=4, max_wait_s=0.5), arrivals, 0.02)
    assert batch == [0, 1, 2, 3]


ALIKE = LengthAware(max_batch_size=2, max_wait_s=1.0, look_ahead=3)


def queue(*tokens: int, passed: tuple[float | None, ...] = (), last_run_s: float = 0.1) -> Queue:
    given = passed or (None,) * len(tokens)
    return Queue(len(tokens), 0.0, 0.0, tokens=tokens, passed_over_s=given, last_run_s=last_run_s)


def test_length_aware_runs_the_oldest_with_those_of_its_length() -> None:
    assert ALIKE.decide(queue(50, 10, 11, 51), 0.0) == Close(2, "full", (0, 3))
    assert ALIKE.decide(queue(10, 50, 51, 11), 0.0) == Close(2, "full", (0, 3))
    assert ALIKE.decide(queue(10, 50), 0.0) == Close(2, "full")
    assert ALIKE.decide(queue(51, 10, 50, 11), 0.0) == Close(2, "full", (0, 2)), "the oldest is the longest"
    three = LengthAware(3, 1.0, look_ahead=2)
    assert three.decide(queue(20, 5, 21, 19, 60, 22), 0.0) == Close(3, "full", (0, 2, 3)), "2 + 1 + 0 tokens of padding"
    assert ALIKE.decide(queue(10, 50, 51, 52, 53, 54, 11), 0.0) == Close(2, "full", (0, 1)), "beyond the look-ahead"


def test_who_was_passed_over_runs_before_it_is_too_late() -> None:
    waits = queue(50, 10, 11, 51, passed=(None, 2.0, None, None))
    assert ALIKE.decide(waits, 2.5) == Close(2, "full", (0, 3))
    assert ALIKE.decide(waits, 2.9) == Close(2, "full", (0, 3)), "the next batch would still be in time"
    assert ALIKE.decide(waits, 2.91) == Close(2, "overdue", (0, 1))
    assert ALIKE.decide(queue(50, 10, 11, 51, passed=(None, 0.0, None, None)), 0.5) == Close(2, "full", (0, 3))


@given(
    st.lists(st.tuples(st.floats(0, 0.05), st.integers(1, 400)), min_size=1, max_size=120),
    st.integers(1, 8),
    st.floats(0.11, 2.0),
)
def test_nobody_waits_longer_beyond_its_turn_than_it_may(
    arrivals: list[tuple[float, int]], size: int, max_wait_s: float
) -> None:
    """In virtual time, runs of 0.1 s: each request starts within `max_wait_s` of when its turn came, and once."""
    policy, now, coming = LengthAware(size, max_wait_s), 0.0, []
    for gap_s, tokens in arrivals:
        coming.append((now + gap_s, tokens))
        now += gap_s
    now, waiting, started, turn, last = 0.0, [], {}, {}, None
    while len(started) < len(coming):
        waiting += [n for n, (due, _) in enumerate(coming) if due <= now and n not in started and n not in waiting]
        if not waiting:
            now = min(due for n, (due, _) in enumerate(coming) if n not in started)
            continue
        seen = Queue(
            len(waiting),
            coming[waiting[0]][0],
            coming[waiting[-1]][0],
            last_batch=last,
            tokens=[coming[n][1] for n in waiting],
            last_run_s=0.1,
            passed_over_s=[turn.get(n) for n in waiting],
        )
        decision = policy.decide(seen, now)
        if isinstance(decision, Wait):
            later = [due for n, (due, _) in enumerate(coming) if n not in started and n not in waiting]
            now = min([decision.until_s, *later])
            continue
        places = decision.picked or tuple(range(decision.count))
        assert len(places) == decision.count <= size
        assert decision.picked is None or 0 in places or decision.reason == "overdue"
        for place in range(decision.count):
            turn.setdefault(waiting[place], now)
        for n in [waiting[place] for place in places]:
            turn.setdefault(n, now)
            assert n not in started
            started[n] = now
        waiting = [n for place, n in enumerate(waiting) if place not in places]
        last, now = decision.count, now + 0.1
    assert all(started[n] - turn[n] <= max_wait_s + 1e-9 for n in started)


@pytest.mark.parametrize(("count", "picked"), [(0, None), (-1, None), (2, (0,)), (2, (0, 0)), (1, (-1,)), (0, ())])
def test_a_batch_is_somebody_and_its_places_are_as_many_and_different(
    count: int, picked: tuple[int, ...] | None
) -> None:
    with pytest.raises(ValueError, match=r"count must be >= 1|different places >= 0"):
        Close(count, "odd", picked)


def test_a_batch_is_of_those_who_wait() -> None:
    Close(9, "all there are").check(3)
    Close(2, "picked", (2, 0)).check(3)
    with pytest.raises(ValueError, match=r"picked must name places < 2, got \(2, 0\)"):
        Close(2, "picked", (2, 0)).check(2)
