"""The loop that runs a pipeline, on the engine's thread or in its process. Knows neither.

Messages are a ticket with questions, with a place among them that nobody waits for any more, or with None for all of
them. Each ticket with questions is answered once, in any order; one that was given up, with what there is by then.
"""

import gc
from collections.abc import Callable, Collection, Sequence
from functools import partial
from itertools import islice
from queue import SimpleQueue
from typing import TYPE_CHECKING

from servers.engine.isolation import Isolation
from servers.rag.failed import Failed
from servers.rag.pipeline import Answered, Ask
from servers.rag.stepping import Flow
from servers.rag.steps import Steps

if TYPE_CHECKING:
    from servers.rag.fakes import Slowed, Stub
    from servers.rag.pipeline import Pipeline

__all__ = ["Inbox", "Reply", "work"]

Message = tuple[int, Sequence[Ask] | int | None]
Inbox = SimpleQueue[Message | None]
Reply = Callable[[int, Sequence[Answered | Failed]], None]


def work(
    pipeline: "Pipeline | Slowed | Stub", inbox: Inbox, reply: Reply, *, steps: Steps, max_new_tokens: int
) -> None:
    """Until None comes: each message's questions in one run, or, where the pipeline `joins`, all together by steps.

    Raises EngineUnfit where the pipeline fails whatever it is asked.
    """
    # A full collection over what torch and transformers loaded stops everything for a quarter of a second.
    gc.collect()
    gc.freeze()
    isolation = Isolation(pipeline, steps, max_new_tokens=max_new_tokens)
    if pipeline.joins:
        _work_by_steps(Flow(pipeline, steps), isolation, inbox, reply)
        return
    mail = _Mail(inbox, reply)
    while (run := mail.next_run()) is not None:
        ticket, asks = run
        reply(ticket, isolation.run(asks, mail.left_by))


class _Mail:
    """Runs in their order, and who has left the one that is on; letters are opened between its steps."""

    def __init__(self, inbox: Inbox, reply: Reply) -> None:
        self._inbox = inbox
        self._reply = reply
        self._runs: dict[int, Sequence[Ask]] = {}
        self._left: dict[int, set[int]] = {}
        self._on: tuple[int, int] = (-1, 0)  # ticket and size
        self._is_over = False

    def next_run(self) -> tuple[int, Sequence[Ask]] | None:
        """The next one, as soon as there is one; None when there will be none."""
        self._left.pop(self._on[0], None)
        while not self._runs:
            if self._is_over:
                return None
            self._open(self._inbox.get())
        ticket, asks = next(iter(self._runs.items()))
        del self._runs[ticket]
        self._on = ticket, len(asks)
        return ticket, asks

    def left_by(self) -> Collection[int]:
        """The places of those who have left the run that is on."""
        while not self._inbox.empty():
            self._open(self._inbox.get())
        return self._left[self._on[0]]

    def _open(self, message: Message | None) -> None:
        if message is None:
            self._is_over = True
            return
        ticket, content = message
        if isinstance(content, int):
            self._left.get(ticket, set()).add(content)
        elif content is not None:
            self._runs[ticket], self._left[ticket] = content, set()
        elif self._runs.pop(ticket, None) is not None:
            del self._left[ticket]
            self._reply(ticket, ())
        elif ticket in self._left:  # the run that is on
            self._left[ticket] = set(range(self._on[1]))


def _work_by_steps(flow: Flow, isolation: Isolation, inbox: Inbox, reply: Reply) -> None:
    while True:
        for message in _come(inbox, wait=not flow.is_running):
            if message is None:
                return
            ticket, content = message
            if content is None or isinstance(content, int):  # each of its runs is one question
                if flow.cancel(ticket):
                    reply(ticket, ())
            else:
                flow.add(ticket, content)
        _begin(flow, isolation, reply)
        for ticket, each in _step(flow, isolation):
            reply(ticket, each)


def _begin(flow: Flow, isolation: Isolation, reply: Reply) -> None:
    """Take in those who came; where that fails, each by itself."""
    try:
        flow.begin()
    except Exception as error:
        came = flow.came()
        isolation.failed(error, sum(len(asks) for _, asks in came))
    else:
        return
    # Not while the error is handled: its traceback keeps what the failed step had in memory.
    begun = isolation.each([partial(flow.begin_with, *one) for one in came], own=flow.find)
    for (ticket, asks), failed in zip(came, begun, strict=True):
        if failed is not None:
            reply(ticket, [failed] * len(asks))


def _step(flow: Flow, isolation: Isolation) -> list[tuple[int, list[Answered | Failed]]]:
    """Who is answered by one step; where that fails, all that run, each by itself."""
    try:
        return flow.step()
    except Exception as error:
        asked = flow.emptied()
        isolation.failed(error, sum(len(asks) for _, asks in asked))
    answers = iter(isolation.one_by_one([ask for _, asks in asked for ask in asks]))  # likewise
    return [(ticket, list(islice(answers, len(asks)))) for ticket, asks in asked]


def _come(inbox: Inbox, *, wait: bool) -> list[Message | None]:
    messages = [inbox.get()] if wait else []
    while not inbox.empty():
        messages.append(inbox.get())
    return messages
