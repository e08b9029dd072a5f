import math

import pytest

from ragbench.chaos.outcome import Tally, fates, limit_s, loss_notes, recovery_s
from tests.ragbench.chaos.exchanges import exchange

REFUSED = {"status": "rejected", "http_status": 503, "result": None}


@pytest.mark.parametrize(
    ("changed", "fate"),
    [
        ({}, "answered"),
        ({"expected": None, "result": "anything"}, "answered"),
        ({"answer_id": None}, "answered"),
        ({"answer_id": "a-1"}, "lost"),
        ({"result": "what?"}, "lost"),
        ({**REFUSED, "retry_after_s": 1.0}, "rejected"),
        (REFUSED, "lost"),
        ({"status": "timeout", "http_status": 504}, "rejected"),
        ({"status": "timeout", "http_status": None}, "lost"),
        ({"status": "http_error", "http_status": 500}, "lost"),
        ({"status": "truncated"}, "lost"),
        ({"status": "connection_error", "http_status": None}, "lost"),
        ({"status": "unsent", "sent_s": None}, "unsent"),
    ],
)
def test_fate(changed, fate):
    assert exchange(**changed).fate == fate


def test_only_an_answer_has_a_latency():
    assert exchange(took_s=0.5).latency_s == 0.5
    assert exchange(took_s=0.5, result="what?").latency_s is None


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"result": "what?"}, "a wrong body"),
        ({"answer_id": "a-1"}, "the answer to another request"),
        (REFUSED, "503 without Retry-After"),
        ({"status": "timeout", "http_status": None}, "no answer within the timeout"),
        ({"status": "http_error", "http_status": 500}, "status 500"),
        ({"status": "reset"}, "reset"),
    ],
)
def test_why_lost(changed, reason):
    assert exchange(**changed).ending == ("lost", reason)


def test_every_request_that_was_sent_is_counted_once():
    exchanges = [
        exchange(),
        exchange(took_s=1.5),
        exchange(status="rejected", http_status=429, retry_after_s=2.0),
        exchange(status="reset", http_status=None),
        exchange(status="unsent", sent_s=None),
    ]
    assert fates(exchanges, late_s=1.0) == {"sent": 4, "answered": 2, "rejected": 1, "lost": 1, "late": 1}


def test_notes_count_equal_reasons():
    lost = [exchange(status="reset"), exchange(status="http_error", http_status=500), exchange(status="reset")]
    notes = loss_notes([*lost, exchange(), exchange(status="unsent", sent_s=None)])
    assert notes == ("2 lost: reset", "1 lost: status 500", "1 not sent: this client could not")


def test_what_does_not_pass():
    assert not Tally("kill", 9, 8, 0, None, 1, 0, 2, 0, 1.25, 0).passed
    clean = Tally("kill", 9, 9, 0, 3, 0, None, 0, 0, 0.0, 0)
    assert clean.passed
    assert not Tally("kill", 9, 9, 0, 3, 0, None, 0, 0, None, 0, failures=("it did not recover",)).passed


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
    assert recovery_s(exchanges[::-1], faults_s, end_s=20.0) == limited  # they come as they end


def test_no_request_is_no_proof():
    before = [exchange(i / 10) for i in range(50)]
    assert recovery_s(before, [5.0], end_s=20.0) is None
