import pytest

from ragbench.chaos.outcome import Tally, fates, loss_notes, why_lost
from tests.ragbench.chaos.exchanges import exchange

REFUSED = {"status": "rejected", "http_status": 503, "result": None}


@pytest.mark.parametrize(
    ("changed", "fate"),
    [
        ({}, "answered"),
        ({"right": None, "result": "anything"}, "answered"),
        ({"heard_id": None}, "answered"),
        ({"heard_id": "a-1"}, "lost"),
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
        ({"heard_id": "a-1"}, "the answer to another request"),
        (REFUSED, "503 without Retry-After"),
        ({"status": "timeout", "http_status": None}, "no answer within the timeout"),
        ({"status": "http_error", "http_status": 500}, "status 500"),
        ({"status": "reset"}, "reset"),
    ],
)
def test_why_lost(changed, reason):
    assert why_lost(exchange(**changed)) == reason


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


def test_what_is_not_whole():
    assert not Tally("kill", 9, 8, 0, None, 1, 0, 2, 0, 1.25, 0).is_whole
    clean = Tally("kill", 9, 9, 0, 3, 0, None, 0, 0, 0.0, 0)
    assert clean.is_whole
    assert not Tally("kill", 9, 9, 0, 3, 0, None, 0, 0, None, 0, failures=("it did not recover",)).is_whole
