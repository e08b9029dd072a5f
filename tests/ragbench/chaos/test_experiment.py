"""When faults are due, and how soon a bad replica is ejected and replaced by a fleet's own report."""

from typing import Any

import pytest

from ragbench.chaos import experiment
from ragbench.chaos.experiment import Experiment, Terms
from ragbench.chaos.fleet import Replica
from ragbench.chaos.scenarios import SCENARIOS
from tests import virtual


def test_faults_leave_time_before_between_and_after():
    def due_s(name: str, duration_s: float) -> list[float]:
        return [at for at, _ in SCENARIOS[name].faults(duration_s)]

    assert due_s("kill", 30.0) == [10.0, 20.0]
    assert due_s("kill", 60.0) == [10.0, 20.0, 30.0, 40.0, 50.0]
    assert due_s("kill", 6.0) == [2.0, 4.0]
    assert due_s("stop", 60.0) == [10.0]
    assert due_s("many_users", 60.0) == []


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
    monkeypatch.setattr(experiment.time, "monotonic", virtual.now)


def seen(history: dict[float, list[Replica]], **options: Any) -> tuple[dict[str, float | None], list[str]]:
    terms = Terms((), (), (), duration_s=45.0)
    watched = Experiment(Reports(history), terms, None, 4.0, None, None)  # type: ignore[arg-type]
    virtual.run(watched.watch_replaced(replica(1), **options))
    return watched.figures, watched.failures


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
