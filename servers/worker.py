"""The loop that runs a pipeline, on the engine's thread or in its process. Knows neither.

Messages are a ticket with questions, or with None to give them up; answers go back with the ticket, in any order.
"""

import gc
import logging
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import TYPE_CHECKING

from servers.rag.flow import Flow
from servers.rag.pipeline import Answered, Ask

if TYPE_CHECKING:
    from servers.rag.pipeline import Pipeline
    from servers.rag.stub import Stub

__all__ = ["Inbox", "Reply", "work"]

log = logging.getLogger(__name__)
Message = tuple[int, Sequence[Ask] | None]
Inbox = SimpleQueue[Message | None]
Reply = Callable[[int, Sequence[Answered] | Exception], None]


def work(pipeline: "Pipeline | Stub", inbox: Inbox, reply: Reply) -> None:
    """Until None comes: each message's questions in one run, or, where the pipeline `joins`, all together by steps."""
    # A full collection over what torch and transformers loaded stops everything for a quarter of a second.
    gc.collect()
    gc.freeze()
    if pipeline.joins:
        _work_by_steps(Flow(pipeline), inbox, reply)
        return
    while (message := inbox.get()) is not None:
        ticket, asks = message
        if asks is None:
            continue  # a run cannot be interrupted
        try:
            reply(ticket, pipeline.run(asks))
        except Exception as error:
            log.exception("the pipeline failed")
            reply(ticket, error)


def _work_by_steps(flow: Flow, inbox: Inbox, reply: Reply) -> None:
    while True:
        for message in _come(inbox, wait=not flow.is_running):
            if message is None:
                return
            ticket, asks = message
            if asks is None:
                flow.cancel(ticket)
            else:
                flow.add(ticket, asks)
        for ticket, answer in flow.step():
            reply(ticket, answer)


def _come(inbox: Inbox, *, wait: bool) -> list[Message | None]:
    messages = [inbox.get()] if wait else []
    while not inbox.empty():
        messages.append(inbox.get())
    return messages
