"""How soon a bad replica is ejected and replaced, by a fleet's own report; retries; answers in access logs."""

import json
from typing import Any

import pytest

from ragbench.chaos import fleet
from ragbench.chaos.fleet import Replica, answered_ids, answered_twice, logs_of, read_retries, watch_replacement
from tests import virtual


def replica(number: int, *, state: str = "ready", ejected: bool = False) -> Replica:
    return Replica(f"http://127.0.0.1:{number}", number, state, 0, ejected)


class Reports:
    """A fleet of two that reports at each moment what it is made of."""

    def __init__(self, history: dict[float, list[Replica]]) -> None:
        self._history = history

    async def replicas(self, state: str | None = None) -> list[Replica]:
        now = virtual.now()
        found = next(each for at, each in reversed(self._history.items()) if at <= now)
        return [each for each in found if state in (None, each.state)]

    async def longest_start_s(self) -> float:
        return 1.5


@pytest.fixture(autouse=True)
def in_virtual_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet.time, "monotonic", virtual.now)


def seen(history: dict[float, list[Replica]], **options: Any) -> tuple[dict[str, float | None], list[str]]:
    return virtual.run(watch_replacement(Reports(history), replica(1), before=2, limit_s=30.0, **options))  # type: ignore[arg-type]


def test_it_counts_from_the_fault_and_from_the_ejection() -> None:
    figures, failures = seen(
        {
            0.0: [replica(1), replica(2)],
            7.0: [replica(1, ejected=True), replica(2)],
            8.0: [replica(2), replica(3, state="starting")],
            9.5: [replica(2), replica(3)],
        }
    )
    assert figures == {
        "ejected_s": pytest.approx(7.0, abs=0.1),
        "successor_s": pytest.approx(2.5, abs=0.1),
        "start_s": 1.5,
    }
    assert failures == []


def test_what_takes_too_long_or_never_comes_is_a_line() -> None:
    figures, failures = seen({0.0: [replica(1), replica(2)]})
    assert figures == {"ejected_s": None, "successor_s": None, "start_s": 1.5}
    assert failures == ["the bad replica was not ejected within 10 s", "its successor was not ready within 3.5 s"]
    assert seen({0.0: [replica(1), replica(2)], 10.2: [replica(2), replica(3)]})[1] == failures[:1]


def test_one_that_somebody_else_started_has_no_successor() -> None:
    figures, failures = seen({0.0: [replica(1), replica(2)], 1.0: [replica(2)]}, needs_successor=False)
    assert (list(figures), failures) == (["ejected_s"], [])


def test_retries_are_summed_over_labels():
    text = '# TYPE rag_retries_total counter\nrag_retries_total{reason="gone"} 2.0\nrag_retries_total 3.0\nx 9\n'
    assert read_retries(text) == 5
    assert read_retries("# TYPE rag_retries_total counter\n") == 0
    assert read_retries("up 1\n") is None


def line(request_id, *, server="batched[7]", status=200, event="answered"):
    return json.dumps({"event": event, "status": status, "request_id": request_id, "server": server, "more": 1}) + "\n"


def test_only_answers_of_replicas_are_read():
    lines = [
        line("a"),
        line("a", server="scaled[5]"),
        line("b", status=503),
        line("c", event="started"),
        "2026 INFO batched[7] up\n",
        '{"event": "ans',
        "[1]\n",
        line("d", server="batched[8]"),
    ]
    assert list(answered_ids(lines)) == ["a", "d"]


def test_one_log_for_all(tmp_path):
    (tmp_path / "server.log").write_text(line("a") + line("b") + line("a", server="batched[8]"))
    assert answered_twice(logs_of(tmp_path)) == 1


def test_a_log_each_and_one_of_the_restarted_fleet(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "server.log").write_text(line("a", server="scaled[5]"))
    (tmp_path / "server-2.log").write_text(line("c"))
    (tmp_path / "logs" / "replica-8000.log").write_text(line("a") + line("b") + line("c"))
    (tmp_path / "logs" / "replica-8001.log").write_bytes(b"\xff\n" + line("a").encode())
    assert answered_twice(logs_of(tmp_path)) == 2


def test_a_log_that_tells_nothing_is_not_a_log_without_duplicates(tmp_path):
    (tmp_path / "server.log").write_text("nothing\n")
    assert answered_twice(logs_of(tmp_path)) is None
    (tmp_path / "server.log").write_text(line("a"))
    assert answered_twice(logs_of(tmp_path)) == 0
