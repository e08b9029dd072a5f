import pytest

from ragbench.chaos.exchange import why_lost
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
