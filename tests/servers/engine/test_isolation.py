"""What a failing run costs: its own questions' failures, a test of the engine now and then, or the engine."""

from collections.abc import Callable, Collection, Sequence

import pytest

from servers.engine.isolation import EngineUnfit, Isolation, trial_question
from servers.rag.failed import Failed
from servers.rag.pipeline import Answered, Ask
from servers.rag.steps import UNREPORTED, Steps

GOOD = [Ask(f"good {number}", 2, 1) for number in range(3)]
BAD = Ask("bad", 2, 1)
FAILED = Failed("internal", "internal error")


class AcceleratorError(RuntimeError):
    """As torch calls what CUDA reports; a want of memory is one too."""


class OutOfMemoryError(AcceleratorError):
    pass


class Pipeline:
    """Fails where it is asked `bad`, or, once `broken`, always; notes every run."""

    def __init__(self) -> None:
        self.runs: list[list[str]] = []
        self.broken: Exception | None = None

    def run(self, asks: Sequence[Ask], left: Callable[[], Collection[int]], steps: Steps) -> list[Answered | Failed]:
        self.runs.append([ask.query for ask in asks])
        if self.broken is not None:
            raise self.broken
        if BAD in asks:
            raise ValueError("bad")
        return [answer(ask) for ask in asks]


def answer(ask: Ask) -> Answered:
    return Answered(ask.query, "", (), 0, 0, {})


@pytest.fixture
def pipeline() -> Pipeline:
    return Pipeline()


@pytest.fixture
def isolation(pipeline: Pipeline) -> Isolation:
    return Isolation(pipeline, UNREPORTED, max_new_tokens=1)


def test_the_neighbours_of_a_bad_question_are_answered_and_each_is_run_once_more(
    isolation: Isolation, pipeline: Pipeline
) -> None:
    asks = [GOOD[0], BAD, GOOD[1]]
    assert isolation.run(asks, tuple) == [answer(GOOD[0]), FAILED, answer(GOOD[1])]
    assert pipeline.runs == [["good 0", "bad", "good 1"], ["good 0"], ["bad"], ["good 1"]]


def test_bad_questions_in_a_row_have_the_engine_tested_and_it_goes_on(isolation: Isolation, pipeline: Pipeline) -> None:
    for _ in range(100):
        assert isolation.run([BAD], tuple) == [FAILED]
    assert pipeline.runs.count([trial_question(1).query]) == 100
    pipeline.runs.clear()
    assert isolation.run([BAD, GOOD[0]], tuple) == [FAILED, answer(GOOD[0])]
    assert len(pipeline.runs) == 3, "a neighbour's answer is test enough"
    assert isolation.run(GOOD, tuple) == [answer(ask) for ask in GOOD]


def test_one_that_fails_its_test_too_is_unfit(isolation: Isolation, pipeline: Pipeline) -> None:
    pipeline.broken = RuntimeError("sticky")
    with pytest.raises(EngineUnfit, match="RuntimeError: sticky, for a question of our own too"):
        isolation.run(GOOD, tuple)
    assert len(pipeline.runs) == 1 + 3 + 1, "the run, three of its questions, the test"


@pytest.mark.parametrize("error", [AcceleratorError("CUDA error: an illegal memory access"), OutOfMemoryError("full")])
def test_an_error_that_no_process_survives_is_not_tried_again(
    isolation: Isolation, pipeline: Pipeline, error: Exception
) -> None:
    pipeline.broken = error
    with pytest.raises(EngineUnfit):
        isolation.run(GOOD, tuple)
    assert len(pipeline.runs) == (5 if isinstance(error, OutOfMemoryError) else 1)


def test_a_want_of_memory_in_a_large_batch_costs_nobody_an_answer(isolation: Isolation, pipeline: Pipeline) -> None:
    run = pipeline.run

    def full(asks: Sequence[Ask], left: Callable[[], Collection[int]], steps: Steps) -> list[Answered | Failed]:
        if len(asks) > 1:
            raise OutOfMemoryError("CUDA out of memory")
        return run(asks, left, steps)

    pipeline.run = full  # type: ignore[method-assign]
    assert isolation.run(GOOD, tuple) == [answer(ask) for ask in GOOD]


def test_one_that_is_left_while_its_run_is_repeated_is_not_computed_for(
    isolation: Isolation, pipeline: Pipeline
) -> None:
    left = [{0}]
    seen = []

    def run(asks: Sequence[Ask], left: Callable[[], Collection[int]], steps: Steps) -> list[Answered | Failed]:
        seen.append([ask.query for place, ask in enumerate(asks) if place not in left()])
        return Pipeline.run(pipeline, asks, left, steps)

    pipeline.run = run  # type: ignore[method-assign]
    isolation.run([GOOD[0], BAD, GOOD[1]], lambda: left[0])
    assert seen == [["bad", "good 1"], [], ["bad"], ["good 1"]]
