"""Batches that compute side by side, in virtual time."""

from functools import partial

import pytest

from ragbench.simulator.machine import Heap, Machine, Work


def half_as_fast(size, others):
    return 1.0 + others


def ends(*starts, stopped=None):
    """-> when each batch of (start, length alone) ended; the one numbered `stopped` is given up after a second."""
    heap, found = Heap(), {}
    machine = Machine(heap, half_as_fast)
    works = [Work(1, length_s, lambda: None) for _, length_s in starts]
    for number, ((start_s, _), work) in enumerate(zip(starts, works, strict=True)):
        work.over = partial(lambda number: found.update({number: heap.now}), number)
        heap.at(start_s, machine.start, work)
    if stopped is not None:
        heap.at(1.0, machine.stop, works[stopped])
    heap.run(until=lambda: False)
    assert machine.computing == 0
    return found


def test_a_batch_alone_takes_its_own_time():
    assert ends((0.5, 2.0), (3.0, 1.0)) == {0: 2.5, 1: 4.0}


def test_two_slow_each_other_only_while_both_compute():
    # From 1 to 3 at half the speed: the second gets its 1 s done, the first one of its three.
    assert ends((0.0, 3.0), (1.0, 1.0)) == {0: pytest.approx(4.0), 1: pytest.approx(3.0)}


def test_who_is_given_up_slows_nobody_any_more():
    assert ends((0.0, 2.0), (0.0, 9.0), stopped=1) == {0: pytest.approx(2.5)}
