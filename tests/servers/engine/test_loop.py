"""The engine's loop: runs in order, and those who leave are out between two steps."""

from collections.abc import Callable, Collection, Sequence
from queue import SimpleQueue
from typing import Any, Literal

from servers.engine.loop import Inbox, _Mail, work
from servers.rag.pipeline import Answered, Ask
from servers.rag.steps import UNREPORTED, Steps

ASKS = [Ask(str(number), 1, 1) for number in range(3)]


class Steps:
    """A pipeline of three steps that notes who had left before each; `between` happens between two of them."""

    joins: Literal[False] = False

    def __init__(self, between: Callable[[], None]) -> None:
        self.left: list[list[int]] = []
        self._between = between

    def run(self, asks: Sequence[Ask], left: Callable[[], Collection[int]], steps: Steps) -> list[Answered]:
        for _ in range(3):
            self.left.append(sorted(left()))
            self._between()
        return [Answered(ask.query, "", (), 0, 0, {}) for ask in asks]


def worked(inbox: Inbox, pipeline: Any) -> list[int]:
    """The tickets that were answered, in order."""
    answered: list[int] = []
    work(pipeline, inbox, lambda ticket, answer: answered.append(ticket), steps=UNREPORTED, max_new_tokens=1)
    return answered


def test_a_run_sees_who_has_left_it_between_its_steps() -> None:
    inbox: Inbox = SimpleQueue()
    letters = iter([(1, 0), (1, 2)])
    pipeline = Steps(lambda: inbox.put(next(letters, None)))
    inbox.put((1, ASKS))
    assert worked(inbox, pipeline) == [1]
    assert pipeline.left == [[], [0], [0, 2]]


def test_one_that_is_given_up_is_left_by_all_and_one_that_waited_is_not_begun() -> None:
    inbox: Inbox = SimpleQueue()
    letters = iter([(1, None), (2, None), (3, ASKS[:1])])
    pipeline = Steps(lambda: inbox.put(next(letters, None)))
    inbox.put((1, ASKS))
    inbox.put((2, ASKS))
    assert worked(inbox, pipeline) == [2, 1, 3], "each is answered, so that the engine is known to be done with it"
    assert pipeline.left[:3] == [[], [0, 1, 2], [0, 1, 2]]


def test_letters_about_runs_that_are_over_are_no_mistake() -> None:
    inbox: Inbox = SimpleQueue()
    for message in ((1, ASKS), (1, 2), (7, None), (7, 1), (2, ASKS[:1]), None):
        inbox.put(message)
    assert worked(inbox, Steps(lambda: None)) == [1, 2]


def test_letters_about_the_run_that_has_just_ended_are_not_kept() -> None:
    inbox: Inbox = SimpleQueue()
    mail = _Mail(inbox, lambda ticket, answers: None)
    for ticket in range(3):
        inbox.put((ticket, ASKS))
        assert mail.next_run() == (ticket, ASKS)
        inbox.put((ticket, None))  # given up while its answer was on its way
    inbox.put(None)
    assert mail.next_run() is None
    assert mail._left == {}
