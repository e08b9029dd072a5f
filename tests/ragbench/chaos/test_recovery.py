import math

import pytest

from ragbench.chaos.recovery import limit_s, recovery_s
from tests.ragbench.chaos.exchanges import exchange


def load(*, end_s=20.0, slow=(), lost=()):
    """Ten requests a second, each answered within 10 ms but for those due within `slow` (1 s) and `lost`."""
    due = [i / 10 for i in range(int(end_s * 10))]
    return [
        exchange(
            due_s,
            took_s=1.0 if any(a <= due_s <= b for a, b in slow) else 0.01,
            status="reset" if any(a <= due_s <= b for a, b in lost) else "ok",
        )
        for due_s in due
    ]


def test_limit_is_the_p99_and_a_quarter_of_a_second_or_half_of_it():
    assert limit_s(load(), first_fault_s=5.0) == pytest.approx(0.26)
    slow = [exchange(i / 10, took_s=2.0) for i in range(50)]
    assert limit_s(slow, first_fault_s=5.0) == pytest.approx(3.0)
    assert limit_s(slow, first_fault_s=0.0) == math.inf


@pytest.mark.parametrize(
    ("faults_s", "disturbed", "recovered_s"),
    [
        ([5.0], {}, 0.0),
        ([5.0], {"slow": [(6.0, 8.0)]}, 3.0),
        ([5.0], {"slow": [(6.9, 8.0)]}, 3.0),
        ([5.0], {"slow": [(7.1, 8.0)]}, 0.0),
        ([5.0], {"lost": [(5.0, 6.5)]}, 1.5),
        ([5.0], {"slow": [(4.0, 4.9)]}, 0.0),
        ([5.0], {"slow": [(5.0, 17.5)]}, 12.5),
        ([5.0], {"slow": [(5.0, 18.5)]}, None),
        ([5.0, 12.0], {"slow": [(5.0, 6.0)], "lost": [(12.0, 14.0)]}, 2.0),
        ([5.0, 12.0], {"lost": [(5.0, 10.5)]}, None),
        ([], {}, None),
    ],
)
def test_recovery(faults_s, disturbed, recovered_s):
    exchanges = load(**disturbed)
    limited = pytest.approx(recovered_s) if recovered_s is not None else None
    assert recovery_s(exchanges, faults_s, end_s=20.0) == limited


def test_no_request_is_no_proof():
    before = [exchange(i / 10) for i in range(50)]
    assert recovery_s(before, [5.0], end_s=20.0) is None
