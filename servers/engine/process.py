"""The pipeline in a process of its own, and the server's end of it. Decides nothing.

Messages are those of messages.py, over a pair of sockets that only the two have.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, BinaryIO, NoReturn, TypeVar

from msgspec import MsgspecError

from servers import exits
from servers.engine import EngineDied, Loaded, Outcome, Tickets, about, gone, load_pipeline, messages, told
from servers.engine.isolation import EngineUnfit
from servers.engine.loop import Inbox, work
from servers.engine.progress import Progress
from servers.rag.fakes import Slowed, Stub
from servers.rag.models import ModelError
from servers.rag.pipeline import Ask, Pipeline
from servers.rag.steps import Steps
from servers.settings import Settings
from servers.tasks import Background
from servers.telemetry import logs

__all__ = ["EngineProcess"]

log = logging.getLogger(__name__)
T = TypeVar("T")


class EngineProcess:
    """In a child that ends with us. Should it end before, the server ends too: it cannot answer any more."""

    def __init__(self) -> None:
        self._child: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._tickets = Tickets()
        self._has_ended = False

    @property
    def progress(self) -> Progress:
        """See Engine."""
        return self._tickets.progress

    async def load(self, settings: Settings, background: Background) -> Loaded:
        """Start the child and have it build the pipeline. Raises ModelError."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "servers.engine.process", str(theirs.fileno())),
                stdin=asyncio.subprocess.DEVNULL,  # a library that asks a question there gets no answer
                pass_fds=[theirs.fileno()],
            )
        reader, self._writer = await asyncio.open_connection(sock=ours)
        background.start(self._read(reader, self._child), name="engine")
        loaded: Loaded = await self._ask(messages.orders, settings)
        self._tickets.progress.hang_s = settings.time_limits.hang_s
        return loaded

    def run(self, asks: Sequence[Ask]) -> asyncio.Future[Sequence[Outcome]]:
        """See Engine."""
        return self._ask(messages.questions, asks)

    def drop(self, run: asyncio.Future[Sequence[Outcome]], place: int) -> None:
        """See Engine."""
        if self._writer is not None and (ticket := self._tickets.of(run)) is not None:
            self._writer.write(messages.left(ticket, place))

    async def stop(self) -> None:
        """Kill the child: nobody waits for what it computes."""
        self._has_ended = True
        if self._writer is not None:
            self._writer.close()
        if self._child is not None and self._child.returncode is None:
            with suppress(ProcessLookupError):
                self._child.kill()
            await self._child.wait()

    def _ask(self, framed: Callable[[int, T], bytes], message: T) -> asyncio.Future[Any]:
        assert self._writer is not None, "loaded before it is run"
        writer = self._writer
        ticket, answer = self._tickets.issue()
        if self._has_ended:
            self._tickets.settle(ticket, gone())
            return answer
        try:
            writer.write(framed(ticket, message))
        except (TypeError, ValueError) as error:  # text that no UTF-8 has
            self._tickets.settle(ticket, error)
            return answer
        answer.add_done_callback(lambda answer: writer.write(messages.given_up(ticket)) if answer.cancelled() else None)
        return answer

    async def _read(self, reader: asyncio.StreamReader, child: asyncio.subprocess.Process) -> None:
        """Hand answers to those who wait; at the end of the child, fail them. Raises EngineDied."""
        try:
            while True:
                length, ticket, kind = messages.HEAD.unpack(await reader.readexactly(messages.HEAD.size))
                self._hear(ticket, kind, await reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError):
            if self._has_ended:  # it was stopped
                return
            status = await child.wait()
            raise EngineDied(f"the engine process ended with status {status}; the log says why") from None
        except (ValueError, MsgspecError) as error:
            raise EngineDied(f"what the engine process says cannot be read: {error}") from error
        finally:
            self._has_ended = True
            self._tickets.fail()

    def _hear(self, ticket: int, kind: int, body: bytes) -> None:
        message = messages.read(kind, body)
        if isinstance(message, messages.Step):
            self._tickets.progress.stepped(time.monotonic(), message.allowed_s)
        else:
            self._tickets.settle(ticket, told(message) if kind == messages.Kind.ANSWERS else message)


def _receive(stream: BinaryIO, inbox: "SimpleQueue[Any]") -> None:
    """Messages as they come, while the pipeline runs. Without a server there is nobody to run it for."""
    try:
        with suppress(ConnectionError):  # a server that was killed with answers unread
            while len(head := stream.read(messages.HEAD.size)) == messages.HEAD.size:
                length, ticket, kind = messages.HEAD.unpack(head)
                if len(body := stream.read(length)) < length:  # or while it wrote
                    break
                inbox.put((ticket, messages.read(kind, body)))
    except Exception:  # the thread's edge
        _end("what the server says cannot be read")
    os._exit(0)


def _send(connection: socket.socket, outbox: "SimpleQueue[Any]") -> None:
    """Answers, while the pipeline runs the next batch."""
    try:
        with suppress(OSError):  # the server is gone, and so shall we be
            while True:
                connection.sendall(messages.answer(*outbox.get()))
    except Exception:  # the thread's edge
        _end("an answer cannot be sent")


def _work(connection: socket.socket) -> None:
    """The child: the first message is settings, every other one questions. Ends when the server is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to the whole group; the server says when to end
        signal.signal(number, signal.SIG_IGN)
    inbox: SimpleQueue[Any] = SimpleQueue()
    outbox: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_receive, args=(connection.makefile("rb"), inbox), name="receive", daemon=True).start()
    threading.Thread(target=_send, args=(connection, outbox), name="send", daemon=True).start()
    ticket, settings = inbox.get()
    logs.configure("engine", level=settings.log_level, form=settings.log_format)
    try:
        pipeline = load_pipeline(settings)
    except ModelError as error:
        outbox.put((ticket, error))
    except Exception as error:
        log.exception("the pipeline could not be built")
        outbox.put((ticket, error))
    else:
        outbox.put((ticket, about(pipeline)))
        _answer(pipeline, inbox, outbox, settings)
    threading.Event().wait()  # until the server, which has been told, ends the connection


def _answer(pipeline: Pipeline | Slowed | Stub, inbox: Inbox, outbox: "SimpleQueue[Any]", settings: Settings) -> None:
    """Run questions until the server is gone; an engine that is unfit for it ends its process."""
    limits = settings.time_limits
    steps = Steps(
        lambda allowed_s: outbox.put((0, messages.Step(allowed_s))),
        hang_s=limits.hang_s,
        most_s=limits.request_timeout_s,
    )
    try:
        work(
            pipeline,
            inbox,
            lambda ticket, answers: outbox.put((ticket, answers)),
            steps=steps,
            max_new_tokens=settings.max_new_tokens,
        )
    except EngineUnfit as error:
        log.critical("the engine ends: %s", error)
    except Exception:
        _end("an error that nobody caught")
    sys.stderr.flush()
    os._exit(exits.ENGINE_ENDED)


def _end(why: str) -> NoReturn:
    """End the process for the exception that is being handled."""
    log.critical("the engine ends: %s", why, exc_info=True)
    sys.stderr.flush()
    os._exit(exits.ENGINE_ENDED)


if __name__ == "__main__":
    _work(socket.socket(fileno=int(sys.argv[1])))
