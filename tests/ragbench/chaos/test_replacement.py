"""How soon a bad replica is left alone and replaced, by a fleet's own account."""

from typing import Any

import pytest

from ragbench.chaos import replacement
from ragbench.chaos.fleet import Replica
from ragbench.chaos.replacement import Replacement, watch
from tests import virtual


def replica(number: int, *, state: str = "ready", ejected: bool = False) -> Replica:
    return Replica(f"http://127.0.0.1:{number}", number, state, 0, ejected)


class Told:
    """A fleet of two that tells at each moment what it is made of."""

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
    monkeypatch.setattr(replacement.time, "monotonic", virtual.now)


def seen(history: dict[float, list[Replica]], **options: Any) -> Replacement:
    return virtual.run(watch(Told(history), replica(1), before=2, limit_s=30.0, **options))  # type: ignore[arg-type]


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
    assert found.mishaps == []


def test_what_takes_too_long_or_never_comes_is_a_line() -> None:
    never = seen({0.0: [replica(1), replica(2)]})
    assert never.figures == {"ejected_s": None, "successor_s": None, "start_s": 1.5}
    assert never.mishaps == [
        "the bad replica was not ejected within 10 s",
        "its successor was not ready within 3.5 s",
    ]
    assert seen({0.0: [replica(1), replica(2)], 10.2: [replica(2), replica(3)]}).mishaps == never.mishaps[:1]


def test_one_that_somebody_else_started_has_no_successor() -> None:
    found = seen({0.0: [replica(1), replica(2)], 1.0: [replica(2)]}, needs_successor=False)
    assert (list(found.figures), found.mishaps) == (["ejected_s"], [])
