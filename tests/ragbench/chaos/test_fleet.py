"""How soon a bad replica is left alone and replaced, by a fleet's own account."""

from typing import Any

import pytest

from ragbench.chaos import fleet
from ragbench.chaos.fleet import Replacement, Replica, read_retries, watch_replacement
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


def seen(history: dict[float, list[Replica]], **options: Any) -> Replacement:
    return virtual.run(watch_replacement(Reports(history), replica(1), before=2, limit_s=30.0, **options))  # type: ignore[arg-type]


def test_it_counts_from_the_fault_and_from_the_ejection() -> None:
    found = seen(
        {
            0.0: [replica(1), replica(2)],
            7.0: [replica(1, ejected=True), replica(2)],
            8.0: [replica(2), replica(3, state="starting")],
            9.5: [replica(2), replica(3)],
        }
    )
    assert (found.ejected_s, found.successor_s) == (pytest.approx(7.0, abs=0.1), pytest.approx(2.5, abs=0.1))
    assert found.failures == []


def test_what_takes_too_long_or_never_comes_is_a_line() -> None:
    never = seen({0.0: [replica(1), replica(2)]})
    assert never.figures == {"ejected_s": None, "successor_s": None, "start_s": 1.5}
    assert never.failures == [
        "the bad replica was not ejected within 10 s",
        "its successor was not ready within 3.5 s",
    ]
    assert seen({0.0: [replica(1), replica(2)], 10.2: [replica(2), replica(3)]}).failures == never.failures[:1]


def test_one_that_somebody_else_started_has_no_successor() -> None:
    found = seen({0.0: [replica(1), replica(2)], 1.0: [replica(2)]}, needs_successor=False)
    assert (list(found.figures), found.failures) == (["ejected_s"], [])


def test_retries_are_summed_over_labels():
    text = '# TYPE rag_retries_total counter\nrag_retries_total{reason="gone"} 2.0\nrag_retries_total 3.0\nx 9\n'
    assert read_retries(text) == 5
    assert read_retries("# TYPE rag_retries_total counter\n") == 0
    assert read_retries("up 1\n") is None
