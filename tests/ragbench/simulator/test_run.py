"""What every simulated load keeps: each request ends once, in time, in order; the same seed gives the same rows."""

from random import Random

import numpy as np
import pandas as pd
import pytest

from policies.routing import POLICIES as ROUTING
from ragbench.simulator.fleet import Loads, Replica
from ragbench.simulator.machine import Heap
from ragbench.simulator.run import batched, run
from ragbench.simulator.servers import Visit
from ragbench.simulator.service_times import Drawn, ServiceTimes
from tests.ragbench.simulator.known import BATCHED, FLEET, batch_of, line, on_a_line, requests

SETTINGS = {"baseline": {}, "batched": BATCHED, "scaled": FLEET}


def poisson(rate, duration_s, seed=1):
    rng = np.random.default_rng(seed)
    return np.sort(rng.uniform(0, duration_s, int(rate * duration_s)))


def simulated(design, rate, *, seed=1, times=None, timeout_s=30.0, duration_s=10.0, events=(), **settings):
    return run(
        requests(poisson(rate, duration_s)),
        design=design,
        settings={**SETTINGS[design], **settings},
        times=times or line(0.005, 0.002),
        timeout_s=timeout_s,
        seed=seed,
        events=events,
    )


def p95(rows):
    return np.percentile([row.latency_s for row in rows if row.status == "ok"], 95)


@pytest.mark.parametrize("design", SETTINGS)
@pytest.mark.parametrize("rate", [5, 100, 1500])
def test_every_request_ends_once_and_no_answer_before_its_work(design, rate):
    rows, _ = simulated(design, rate, max_queue=50, timeout_s=1.0, duration_s=4.0)
    assert [row.request for row in rows] == list(range(4 * rate))
    assert {row.status for row in rows} <= {"ok", "rejected", "timeout"}
    for row in rows:
        assert row.done_s >= row.due_s
        if row.status == "ok":
            assert row.latency_s == pytest.approx(row.queue_s + row.generate_s)
            assert row.queue_s <= 1.0 + 1e-9
            assert row.batch_size <= (1 if design == "baseline" else 8)
    assert rate < 1500 or {row.status for row in rows} > {"ok"}


def test_the_same_seed_gives_the_same_rows_and_another_does_not():
    # Routing among two is the only thing drawn here.
    first, again, other = (simulated("scaled", 300, seed=seed, routing="power_of_two")[0] for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_fleet_of_two_carries_what_one_cannot():
    one, _ = simulated("batched", 500)
    two, _ = simulated("scaled", 500)
    assert p95(two) < 0.1
    assert p95(one) > 1.0


def test_replicas_that_share_a_machine_slow_each_other_and_those_of_their_own_do_not():
    # Beside another replica a batch of n takes 3 n ms longer.
    beside = [batch_of(n, 0.005 + 0.005 * n, beside=1.0) for n in range(1, 9)]
    times = ServiceTimes(pd.concat([on_a_line(0.005, 0.002), *beside]))
    assert times.slowdown(4, 1) == pytest.approx(25 / 13)
    together, _ = simulated("scaled", 500, times=times)
    apart, _ = simulated("scaled", 500, times=times, own_machines=True)
    alone_s = {n: 0.005 + 0.002 * n for n in range(1, 9)}
    assert all(row.generate_s == pytest.approx(alone_s[row.batch_size]) for row in apart)
    slowed = [row.generate_s / alone_s[row.batch_size] for row in together]
    most = [times.slowdown(row.batch_size, 1) for row in together]
    assert np.mean(slowed) > 1.2
    assert all(0.999 < one < limit + 0.001 for one, limit in zip(slowed, most, strict=True))


def test_a_row_tells_why_its_batch_closed():
    rows, _ = simulated("batched", 60, policy="size_or_age", max_batch_size=4)
    assert {row.close_reason for row in rows} == {"full", "max_wait"}


def test_what_a_dying_replica_held_is_asked_of_another_and_a_new_one_takes_its_place():
    rows, counts = simulated("scaled", 300, events=[(3.2, lambda fleet: fleet.kill(1))])
    assert {row.status for row in rows} == {"ok"}
    ready = {count.t_s: (count.ready, count.starting) for count in counts}
    assert (ready[3.0], ready[3.5], ready[4.0], ready[8.0]) == ((2, 0), (1, 0), (1, 1), (2, 0))
    assert {row.replica for row in rows if row.due_s > 8} == {"1", "2"}


def test_a_batch_lost_on_its_way_to_the_engine_never_computes():
    class Slow(ServiceTimes):
        def draw(self, start, rng):
            return Drawn((0.0, 0.0, 0.1), dispatch_s=0.5, turnaround_s=0.0)

    heap, ended = Heap(), []
    server = batched(heap, Slow(on_a_line(0.0, 0.1)), BATCHED, Random(1))
    server.submit(Visit(30.0, lambda visit, status: ended.append(status)))
    heap.at(0.3, server.die)
    heap.at(0.55, lambda: ended.append(server.machine.computing))
    heap.run(until=lambda: False)
    assert ended == ["connection_error", 0]


def test_a_fleet_with_none_left_refuses():
    rows, _ = simulated("scaled", 300, events=[(3.0, lambda fleet: fleet.kill(2))])
    assert {row.status for row in rows if row.due_s < 2.9} == {"ok"}
    assert {row.status for row in rows if 3.0 < row.due_s < 7.0} == {"rejected"}
    assert {row.status for row in rows if row.due_s > 7.6} == {"ok"}


@pytest.mark.slow
def test_slower_starts_cost_latency():
    load = {"design": "scaled", "rate": 1200, "max_replicas": 8, "own_machines": True, "max_queue": 10_000}
    fast, quick = simulated(**load, cold_start_s=1.0)
    slow, _ = simulated(**load, cold_start_s=6.0)
    assert p95(slow) > 2 * p95(fast)
    assert max(count.ready for count in quick) == 8


def test_a_fleet_that_has_nothing_to_do_drains_to_its_least():
    rows, counts = simulated("scaled", 2, min_replicas=1, max_replicas=4, down_cooldown_s=1.0)
    assert {row.status for row in rows} == {"ok"}
    assert {count.ready for count in counts} == {1}
    _, counts = simulated("scaled", 1500, duration_s=4.0, min_replicas=1, max_replicas=4, cold_start_s=0.5)
    assert max(count.ready for count in counts) == 4


def test_a_policy_that_looks_at_two_of_a_thousand_pays_for_two():
    looked = []

    class Watched(Loads):
        def __getitem__(self, index):
            looked.append(index)
            return super().__getitem__(index)

    loads = Watched([Replica(str(number), None) for number in range(1000)])
    ROUTING["power_of_two"](loads, 0, Random(1))
    assert len(looked) <= 4


def test_events_of_one_moment_come_in_the_order_they_were_asked_for():
    heap, told = Heap(), []
    for moment, name in ((2.0, "c"), (1.0, "a"), (1.0, "b"), (-1.0, "first")):
        heap.at(moment, told.append, name)
    heap.at(2.0, lambda: heap.at(1.0, told.append, "late: now"))
    heap.run(until=lambda: False)
    assert told == ["first", "a", "b", "c", "late: now"]
    assert heap.now == 2.0


def test_a_client_waits_no_longer_than_its_timeout_whatever_the_server_does():
    rows, _ = run(requests([0.0, 0.0, 0.0]), design="baseline", settings={}, times=line(0, 1.0), timeout_s=1.5, seed=1)
    assert [(row.status, row.latency_s) for row in rows] == [("ok", 1.0), ("timeout", 1.5), ("timeout", 1.5)]
    assert rows[1].batch_size is None
