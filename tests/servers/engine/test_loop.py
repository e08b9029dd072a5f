"""The engine's loop: batches in order, jobs that come and go between two steps, and one that fails alone."""

from collections.abc import Callable, Sequence
from queue import SimpleQueue
from weakref import ref

import pytest

from servers.backend import Chunk, Done, Event, Failed, Failure, Loaded
from servers.backend.steps import UNREPORTED, Steps
from servers.engine import isolation
from servers.engine.isolation import EngineUnfit
from servers.engine.loop import Cancel, Inbox, Submit, work

FAILED = Failure("internal", "internal error")
GONE = "cancelled"
TRIAL = "a trial"


class AcceleratorError(RuntimeError):
    """As torch calls what CUDA reports; a want of memory is one too."""


class OutOfMemoryError(AcceleratorError):
    pass


class Activations:
    """What a step has in memory."""


class Words:
    """One word a step of each request; the word `bad` raises in whichever step it comes, `unheard` when submitted."""

    def __init__(self, *, is_continuous: bool, between: Callable[[], None] = lambda: None) -> None:
        self.is_continuous = is_continuous
        self.running: dict[int, list[str]] = {}
        self.submitted: list[list[str]] = []
        self.steps: list[list[int]] = []
        self.broken: Exception | None = None
        self.most = 100
        self.held: list[ref[Activations]] = []
        self.is_memory_free: list[bool] = []
        self._between = between

    def loaded(self) -> Loaded:
        raise AssertionError("nobody asks here")

    def submit(self, jobs: Sequence[int], requests: Sequence[str], steps: Steps = UNREPORTED) -> None:
        self.submitted.append(list(requests))
        self.is_memory_free.append(all(held() is None for held in self.held))
        if self.broken is not None:
            raise self.broken
        if "unheard" in requests:
            raise ValueError("unheard")
        self.running |= {job: request.split() for job, request in zip(jobs, requests, strict=True)}

    def cancel(self, job: int) -> None:
        self.running.pop(job, None)

    def reset(self) -> None:
        self.running = {}

    def step(self, steps: Steps = UNREPORTED) -> list[Event]:
        self._between()
        self.steps.append(sorted(self.running))
        if len(self.running) > self.most:
            raise OutOfMemoryError("CUDA out of memory")
        if any(words[0] == "bad" for words in self.running.values()):
            activations = Activations()
            self.held.append(ref(activations))
            raise ValueError("bad")
        events: list[Event] = []
        for job, words in list(self.running.items()):
            events.append(Chunk(job, (len(words),)))
            word = words.pop(0)
            if not words:
                events.append(Done(job, word))
                del self.running[job]
        return events


class Script:
    """What is put into the inbox before each step, and what was said; ends the loop when all have ended."""

    def __init__(self, *batches: Sequence[str], stream: bool = False) -> None:
        self.inbox: Inbox = SimpleQueue()
        self.letters: list[list[Submit | Cancel]] = []
        self.said: list[Event] = []
        self.ends: dict[int, object] = {}
        self._jobs = 0
        for batch in batches:
            self.inbox.put(self.submit(batch, stream=stream))

    def submit(self, requests: Sequence[str], *, stream: bool = False) -> Submit:
        first, self._jobs = self._jobs, self._jobs + len(requests)
        return Submit(first, requests, stream)

    def between(self) -> None:
        for message in self.letters.pop(0) if self.letters else ():
            self.inbox.put(message)

    def emit(self, events: Sequence[Event]) -> None:
        self.said += events
        for event in events:
            if isinstance(event, Chunk):
                continue
            assert event.job not in self.ends, "ended twice"
            failure = event.failure if isinstance(event, Failed) else None
            kind = event.result if isinstance(event, Done) else failure
            self.ends[event.job] = GONE if failure is not None and failure.kind == "cancelled" else kind
        if len(self.ends) == self._jobs and not self.letters:
            self.inbox.put(None)

    def run(self, backend: Words) -> dict[int, object]:
        """How each job ended."""
        work(backend, self.inbox, self.emit, steps=UNREPORTED, trial=TRIAL)
        return self.ends


KINDS = pytest.mark.parametrize("is_continuous", [False, True])


@KINDS
def test_every_job_ends_once_with_its_own_result(is_continuous: bool) -> None:
    ends = Script(["a b", "c"], ["d"]).run(Words(is_continuous=is_continuous))
    assert ends == {0: "b", 1: "c", 2: "d"}


def test_batches_that_have_come_run_one_after_another_or_all_together() -> None:
    one_by_one, together = Words(is_continuous=False), Words(is_continuous=True)
    for backend in (one_by_one, together):
        Script(["a b", "c"], ["d"]).run(backend)
    assert one_by_one.steps == [[0, 1], [0], [2]]
    assert together.steps == [[0, 1, 2], [0]]
    assert (one_by_one.submitted, together.submitted) == ([["a b", "c"], ["d"]], [["a b", "c", "d"]])


def test_who_comes_meanwhile_joins_with_the_next_step_or_waits_for_the_end() -> None:
    for is_continuous, steps in ((True, [[0], [0, 1], [0]]), (False, [[0], [0], [0], [1]])):
        script = Script(["a b c"])
        script.letters = [[script.submit(["d"])]]
        backend = Words(is_continuous=is_continuous, between=script.between)
        assert script.run(backend) == {0: "c", 1: "d"}
        assert backend.steps == steps


@KINDS
def test_one_that_nobody_waits_for_is_out_of_the_next_step(is_continuous: bool) -> None:
    script = Script(["a b c", "d e f", "g h i"])
    script.letters = [[Cancel(0)], [Cancel(2)]]
    backend = Words(is_continuous=is_continuous, between=script.between)
    assert script.run(backend) == {0: GONE, 1: "f", 2: GONE}
    assert backend.steps == [[0, 1, 2], [1, 2], [1]]


def test_one_that_waits_is_not_begun_where_nobody_waits_for_it() -> None:
    script = Script(["a b"], ["c", "d"], ["e"])
    script.letters = [[Cancel(1), Cancel(2)]]
    backend = Words(is_continuous=False, between=script.between)
    assert script.run(backend) == {0: "b", 1: GONE, 2: GONE, 3: "e"}
    assert backend.submitted == [["a b"], ["e"]]


def test_letters_about_jobs_that_are_over_are_no_mistake() -> None:
    script = Script(["a"], ["b c"])
    script.letters = [[Cancel(0), Cancel(7)], [Cancel(0)]]
    assert script.run(Words(is_continuous=False, between=script.between)) == {0: "a", 1: "c"}


@KINDS
def test_chunks_are_said_of_those_alone_who_want_them(is_continuous: bool) -> None:
    script = Script(["a b"], stream=True)
    script.inbox.put(script.submit(["c d"]))
    script.run(Words(is_continuous=is_continuous))
    assert [event for event in script.said if isinstance(event, Chunk)] == [Chunk(0, (2,)), Chunk(0, (1,))]


@KINDS
@pytest.mark.parametrize("poison", ["bad at once", "late and bad", "unheard"])
def test_one_that_raises_fails_alone_and_the_others_end_as_they_would(poison: str, is_continuous: bool) -> None:
    script = Script(["one two three", poison, "four five"])
    assert script.run(Words(is_continuous=is_continuous)) == {0: "three", 1: FAILED, 2: "five"}


def test_one_that_is_asked_again_says_no_chunk_twice() -> None:
    script = Script(["one two three", "late and bad"], stream=True)
    script.run(Words(is_continuous=False))
    chunks = [event for event in script.said if isinstance(event, Chunk) and event.job == 0]
    assert chunks == [Chunk(0, (3,)), Chunk(0, (2,)), Chunk(0, (1,))]


@KINDS
def test_what_a_failed_step_held_in_memory_is_free_before_its_jobs_run_alone(
    is_continuous: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation.log, "disabled", True)  # the records that pytest keeps hold the traceback
    backend = Words(is_continuous=is_continuous)
    Script(["one two three", "late and bad"]).run(backend)
    assert backend.is_memory_free == [True] * 3


@KINDS
def test_one_that_is_left_while_others_are_asked_again_is_not_run(is_continuous: bool) -> None:
    script = Script(["bad", "a b", "c", "d e"])
    script.letters = [[], [], [Cancel(1), Cancel(2)]]
    backend = Words(is_continuous=is_continuous, between=script.between)
    assert script.run(backend) == {0: FAILED, 1: GONE, 2: GONE, 3: "e"}
    assert backend.steps == [[0, 1, 2, 3], [0], [1], [3], [3]]


@KINDS
def test_bad_ones_in_a_row_have_the_engine_tested_and_it_goes_on(is_continuous: bool) -> None:
    backend = Words(is_continuous=is_continuous)
    ends = Script(*[["bad"]] * 100).run(backend)
    assert ends == dict.fromkeys(range(100), FAILED)
    assert [TRIAL] in backend.submitted


def test_a_neighbour_s_answer_is_test_enough() -> None:
    backend = Words(is_continuous=False)
    assert Script(["bad", "good"]).run(backend) == {0: FAILED, 1: "good"}
    assert [TRIAL] not in backend.submitted


@KINDS
def test_one_that_fails_its_test_too_is_unfit(is_continuous: bool) -> None:
    backend = Words(is_continuous=is_continuous)
    backend.broken = RuntimeError("sticky")
    with pytest.raises(EngineUnfit, match="RuntimeError: sticky, for a question of our own too"):
        Script(["a", "b", "c"]).run(backend)
    assert len(backend.submitted) == 1 + 3 + 1, "the batch, three alone, the test"


@pytest.mark.parametrize("error", [AcceleratorError("CUDA error: an illegal memory access"), OutOfMemoryError("full")])
def test_an_error_that_no_process_survives_is_not_tried_again(error: Exception) -> None:
    backend = Words(is_continuous=False)
    backend.broken = error
    with pytest.raises(EngineUnfit):
        Script(["a", "b", "c"]).run(backend)
    assert len(backend.submitted) == (5 if isinstance(error, OutOfMemoryError) else 1)


@KINDS
def test_a_want_of_memory_in_a_large_batch_costs_nobody_an_answer(is_continuous: bool) -> None:
    backend = Words(is_continuous=is_continuous)
    backend.most = 1
    assert Script(["a b", "c", "d e"]).run(backend) == {0: "b", 1: "c", 2: "e"}


def test_the_loop_ends_between_two_steps() -> None:
    script = Script(["a b c d"])
    backend = Words(is_continuous=False, between=lambda: script.inbox.put(None))
    assert script.run(backend) == {}
    assert len(backend.steps) == 1
