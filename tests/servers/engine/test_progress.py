"""What a hang is: work, and no step that ended for longer than a step may take."""

from types import SimpleNamespace

import pytest

from servers.backend import Failed, Failure
from servers.backend.steps import Steps
from servers.engine.progress import Progress
from servers.engine.thread import EngineThread
from servers.rag.pipeline import Ask


def test_an_engine_without_work_never_hangs_and_one_with_work_does_from_its_last_sign_on() -> None:
    jobs: set[int] = set()
    progress = Progress(jobs, hang_s=5.0)
    assert (progress.hangs(1000.0), progress.stalled_s(1000.0)) == (False, 0.0)
    jobs.add(1)
    progress.stepped(1000.0)
    assert (progress.hangs(1005.0), progress.hangs(1005.1)) == (False, True)
    progress.stepped(1005.2)
    assert (progress.hangs(1010.0), progress.hangs(1010.3)) == (False, True)
    jobs.clear()
    assert progress.stalled_s(2000.0) == 0.0


async def test_new_work_is_no_progress_and_the_end_of_a_job_is(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("servers.engine.time", SimpleNamespace(monotonic=lambda: now))
    engine = EngineThread()
    ask = Ask("Where?", 1, 1)
    [first] = engine.submit([ask])
    now = 1010.0
    [second] = engine.submit([ask])
    assert engine.progress.stalled_s(now) == 10.0, "more work is no progress"
    engine._dispatch([Failed(first.number, Failure("internal", "no"))])
    assert engine.progress.stalled_s(1012.0) == 2.0, "the second one is still there"
    engine._dispatch([Failed(second.number, Failure("internal", "no"))])
    assert engine.progress.stalled_s(2000.0) == 0.0
    now = 3000.0
    engine.submit([ask])
    assert engine.progress.stalled_s(3000.5) == 0.5, "from the first job on"


def test_a_step_that_was_announced_may_take_what_it_said_and_the_next_one_may_not() -> None:
    progress = Progress({1}, hang_s=5.0)
    progress.stepped(1.0, 60.0)
    assert (progress.hangs(60.0), progress.hangs(61.1)) == (False, True)
    progress.stepped(50.0)
    assert progress.hangs(55.1)


def test_steps_report_now_and_then_and_announce_one_that_may_take_long() -> None:
    now = 0.0
    reports: list[tuple[float, float]] = []
    steps = Steps(lambda allowed_s: reports.append((now, allowed_s)), hang_s=5.0, clock=lambda: now)

    def take(seconds: float, kind: str, size: int = 1) -> None:
        nonlocal now
        with steps.step(kind, size):
            now += seconds

    for _ in range(100):
        take(0.01, "decode")
    assert 3 <= len(reports) <= 5, "four times a second"
    assert {allowed_s for _, allowed_s in reports} == {0.0}
    take(0.2, "prefill", 100)
    reports.clear()
    take(0.2, "prefill", 100)
    assert all(allowed_s == 0.0 for _, allowed_s in reports), "ten times 0.2 s is less than the limit"
    reports.clear()
    take(2.0, "prefill", 1000)
    assert [allowed_s for _, allowed_s in reports] == pytest.approx([20.0, 0.0]), (
        "ten times as large, and ten times as much to spare"
    )


def test_a_step_that_raises_reports_nothing() -> None:
    reports: list[float] = []
    steps = Steps(reports.append, hang_s=5.0)
    with pytest.raises(ValueError, match="fails"), steps.step("decode"):
        raise ValueError("fails")
    assert reports == []


def test_one_that_was_announced_and_raises_takes_its_allowance_with_it() -> None:
    now = 0.0
    reports: list[float] = []
    steps = Steps(reports.append, hang_s=5.0, clock=lambda: now)
    with steps.step("prefill"):
        now += 2.0
    reports.clear()
    with pytest.raises(ValueError, match="fails"), steps.step("prefill"):
        raise ValueError("fails")
    assert reports == [20.0, 0.0]


def test_steps_are_reported_often_enough_for_a_short_limit() -> None:
    now = 0.0
    progress = Progress({1}, hang_s=0.2)
    steps = Steps(lambda allowed_s: progress.stepped(now, allowed_s), hang_s=0.2, clock=lambda: now)
    for _ in range(100):
        with steps.step("decode"):
            now += 0.01
        assert not progress.hangs(now)


def test_one_step_that_was_stopped_does_not_count_for_ever() -> None:
    now = 0.0
    reports: list[float] = []
    steps = Steps(reports.append, hang_s=5.0, clock=lambda: now)

    def take(seconds: float, size: int) -> None:
        nonlocal now
        with steps.step("prefill", size):
            now += seconds

    take(30.0, 100)  # with SIGSTOP and SIGCONT in it, or the first on a GPU
    for _ in range(500):
        take(0.02, 100)
    reports.clear()
    take(0.02, 100)
    assert reports in ([], [0.0]), "a hang in it is noticed after hang_s, as ever"
    for count in range(0, 1000, 50):
        for _ in range(count):
            take(0.02, 100)
        reports.clear()
        take(20.0, 100_000)
        assert max(reports) > 20.0, "a large one may take its time, however long ago the last was"


def test_one_slow_step_hardly_counts_and_no_step_may_take_longer_than_a_request() -> None:
    now = 0.0
    reports: list[float] = []
    steps = Steps(reports.append, hang_s=5.0, most_s=60.0, clock=lambda: now)

    def take(seconds: float, kind: str, size: int = 1) -> None:
        nonlocal now
        with steps.step(kind, size):
            now += seconds

    take(3.0, "embed", 40)  # the first on a GPU
    take(0.02, "embed", 40)
    reports.clear()
    take(0.02, "embed", 40)
    assert set(reports) <= {0.0}
    for _ in range(20):
        take(0.02, "embed", 40)
        take(1.0, "embed", 40)  # every second one stumbles
    reports.clear()
    take(0.02, "embed", 1280)
    assert max(reports) == pytest.approx(6.4), "ten times what 32 times as much takes by the quickest of the last"
    take(50.0, "prefill", 100)
    reports.clear()
    take(50.0, "prefill", 1000)
    assert max(reports) == 60.0, "nobody would wait for its answer any longer"
