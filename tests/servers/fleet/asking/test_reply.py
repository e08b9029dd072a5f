"""Which answers of a replica are passed on, status by status, and what the others say of it."""

from types import SimpleNamespace
from typing import Any

import pytest

from servers.fleet.asking.reply import TryFailed, check, passed_on


def failure(status: int, asked: dict[str, str] | None = None, **headers: str) -> dict[str, Any] | None:
    """What the try is found to have failed by, as far as it is not the default; None where it is passed on."""
    answer: Any = SimpleNamespace(status=status, headers={name.replace("_", "-"): headers[name] for name in headers})
    try:
        check(answer, asked or {})
    except TryFailed as failed:
        facts = {name: getattr(failed, name) for name in TryFailed.__dataclass_fields__ if name != "why"}
        return {name: fact for name, fact in facts.items() if fact not in (False, None)}
    return None


@pytest.mark.parametrize("status", [200, 400, 413, 415, 422, 429, 431, 504])
def test_what_another_replica_would_answer_too_is_passed_on(status: int) -> None:
    assert failure(status) is None


@pytest.mark.parametrize("status", [201, 301, 401, 403, 404, 500, 502])
def test_any_other_status_is_a_fault_of_the_replica(status: int) -> None:
    assert failure(status) == {"is_answer": True}


@pytest.mark.parametrize("status", [500, 502])
def test_a_failure_of_the_question_is_passed_on(status: int) -> None:
    assert failure(status, X_Error_Scope="request") is None
    assert failure(404, X_Error_Scope="request") == {"is_answer": True}


def test_one_that_is_not_ready_is_not_to_blame_and_one_whose_engine_ended_may_have_met_the_cause() -> None:
    assert failure(503) == {"is_polite": True}
    assert failure(503, X_Error_Scope="engine") == {"is_polite": True, "is_end": True}


@pytest.mark.parametrize(("retry_after", "shed_s"), [("7", 7), ("", 1), ("soon", 1), ("1234567", 1), ("-3", 1)])
def test_a_full_queue_is_no_fault_and_says_for_how_long(retry_after: str, shed_s: int) -> None:
    found = failure(429, X_Error_Scope="server", Retry_After=retry_after)
    assert found == {"is_answer": True, "is_polite": True, "shed_s": shed_s}


def test_an_answer_in_an_encoding_nobody_asked_for_is_a_fault() -> None:
    assert failure(200, Content_Encoding="gzip") == {"is_answer": True}
    assert failure(200, Content_Encoding="Identity") is None


def test_an_answer_to_another_request_is_a_fault() -> None:
    assert failure(200, {"X-Request-Id": "a"}, X_Request_Id="b") == {"is_answer": True}
    assert failure(200, {"X-Request-Id": "a"}, X_Request_Id="a") is None
    assert failure(200, {"X-Request-Id": "a"}) is None
    assert failure(200, {}, X_Request_Id="b") is None


def test_headers_are_passed_on_by_name_and_only_in_printable_ascii() -> None:
    found = passed_on({"X-Replica": "2", "Set-Cookie": "x", "Retry-After": "3"})
    assert dict(found) == {b"x-replica": b"2", b"retry-after": b"3"}
    with pytest.raises(TryFailed, match="X-Replica is not printable"):
        passed_on({"X-Replica": "\xe9"})
