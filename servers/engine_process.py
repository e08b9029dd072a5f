"""The pipeline in a process of its own, and the server's end of it. Decides nothing.

Messages are those of frames.py, over a pair of sockets that only the two have.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, BinaryIO, TypeVar

from servers import frames, logs
from servers.engine import EngineDied, Loaded, Tickets, about, load_pipeline
from servers.rag.models import ModelError
from servers.rag.pipeline import Answered, Ask
from servers.settings import Settings
from servers.worker import Inbox, work

__all__ = ["EngineProcess"]

log = logging.getLogger(__name__)
T = TypeVar("T")


class EngineProcess:
    """In a child that ends with us. Should it end before, the server stops: it cannot answer any more."""

    def __init__(self) -> None:
        self._child: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._tickets = Tickets()
        self._reading: asyncio.Task[None] | None = None

    async def load(self, settings: Settings) -> Loaded:
        """Start the child and have it build the pipeline. Raises ModelError."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "servers.engine_process", str(theirs.fileno()), pass_fds=[theirs.fileno()]
            )
        reader, self._writer = await asyncio.open_connection(sock=ours)
        self._reading = asyncio.create_task(self._read(reader), name="engine")
        loaded: Loaded = await self._ask(frames.orders, settings)
        return loaded

    def run(self, asks: Sequence[Ask]) -> asyncio.Future[Sequence[Answered]]:
        """See Engine."""
        return self._ask(frames.questions, asks)

    def drop(self, run: asyncio.Future[Sequence[Answered]], place: int) -> None:
        """See Engine."""
        if self._writer is not None and (ticket := self._tickets.of(run)) is not None:
            self._writer.write(frames.left(ticket, place))

    async def stop(self) -> None:
        """Kill the child: nobody waits for what it computes. Raises EngineDied where it had ended by itself."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading})
        if self._writer is not None:
            self._writer.close()
        if self._child is not None and self._child.returncode is None:
            with suppress(ProcessLookupError):
                self._child.kill()
            await self._child.wait()
        elif self._child is not None:
            raise EngineDied(f"the engine process ended with status {self._child.returncode}; the log says why")

    def _ask(self, framed: Callable[[int, T], bytes], message: T) -> asyncio.Future[Any]:
        assert self._writer is not None, "loaded before it is run"
        writer = self._writer
        ticket, answer = self._tickets.issue()
        if self._reading is None or self._reading.done():
            self._tickets.settle(ticket, EngineDied("the engine process has ended"))
            return answer
        writer.write(framed(ticket, message))
        answer.add_done_callback(lambda answer: writer.write(frames.given_up(ticket)) if answer.cancelled() else None)
        return answer

    async def _read(self, reader: asyncio.StreamReader) -> None:
        """Hand answers to those who wait; at the end of the child, fail them and stop the server."""
        try:
            while True:
                length, ticket, kind = frames.HEAD.unpack(await reader.readexactly(frames.HEAD.size))
                self._tickets.settle(ticket, frames.read(kind, await reader.readexactly(length)))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            assert self._child is not None, "it was read from"
            log.critical("the engine process ended with status %d (%s): stopping", await self._child.wait(), error)
            os.kill(os.getpid(), signal.SIGTERM)
        except Exception:
            log.exception("what the engine process says cannot be read: stopping")
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            self._tickets.fail(EngineDied("the engine process has ended"))


def _receive(stream: BinaryIO, inbox: "SimpleQueue[Any]") -> None:
    """Messages as they come, while the pipeline runs. Without a server there is nobody to run it for."""
    with suppress(ConnectionError):  # a server that was killed with answers unread
        while head := stream.read(frames.HEAD.size):
            length, ticket, kind = frames.HEAD.unpack(head)
            inbox.put((ticket, frames.read(kind, stream.read(length))))
    os._exit(0)


def _send(connection: socket.socket, outbox: "SimpleQueue[Any]") -> None:
    """Answers, while the pipeline runs the next batch."""
    with suppress(OSError):  # the server is gone, and so shall we be
        while True:
            connection.sendall(frames.answer(*outbox.get()))


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
        questions: Inbox = inbox
        work(pipeline, questions, lambda ticket, answer: outbox.put((ticket, answer)))
    threading.Event().wait()  # until the server, which has been told, ends the connection


if __name__ == "__main__":
    _work(socket.socket(fileno=int(sys.argv[1])))
