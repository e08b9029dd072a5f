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
from collections.abc import Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, BinaryIO, NoReturn

from msgspec import MsgspecError

from servers import exits
from servers.backend import Backend, Loaded
from servers.backend.job import Job
from servers.backend.steps import Steps
from servers.engine import EngineDied, Jobs, load_backend, messages, trial_question
from servers.engine.isolation import EngineUnfit
from servers.engine.loop import Inbox, work
from servers.engine.progress import Progress
from servers.errors import EngineEnded
from servers.rag.models import ModelError
from servers.rag.pipeline import Answered, Ask
from servers.settings import Settings
from servers.tasks import Background
from servers.telemetry import logs

__all__ = ["EngineProcess"]

log = logging.getLogger(__name__)


class EngineProcess:
    """In a child that ends with us. Should it end before, the server ends too: it cannot answer any more."""

    def __init__(self) -> None:
        self._child: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._jobs = Jobs()
        self._loaded: asyncio.Future[Loaded] | None = None

    @property
    def progress(self) -> Progress:
        """Of the child."""
        return self._jobs.progress

    async def load(self, settings: Settings, background: Background) -> Loaded:
        """Start the child and have it build the backend. Raises ModelError."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "servers.engine.process", str(theirs.fileno())),
                stdin=asyncio.subprocess.DEVNULL,  # a library that asks a question there gets no answer
                pass_fds=[theirs.fileno()],
            )
        reader, self._writer = await asyncio.open_connection(sock=ours)
        self._loaded = asyncio.get_running_loop().create_future()
        background.start(self._read(reader, self._child), name="engine")
        self._writer.write(messages.orders(settings))
        loaded = await self._loaded
        self._jobs.progress.hang_s = settings.time_limits.hang_s
        return loaded

    def submit(self, asks: Sequence[Ask], *, stream: bool = False) -> list[Job[Answered]]:
        """Over the connection."""
        assert self._writer is not None, "loaded before it is run"
        message, jobs = self._jobs.issue(asks, self._cancel, stream=stream)
        if not self._jobs.has_ended:
            try:
                self._writer.write(messages.submit(message))
            except (TypeError, ValueError) as error:  # text that no UTF-8 has
                self._jobs.fail(jobs, error)
        return jobs

    async def stop(self) -> None:
        """Kill the child: nobody waits for what it computes."""
        self._jobs.has_ended = True
        if self._writer is not None:
            self._writer.close()
        if self._child is not None and self._child.returncode is None:
            with suppress(ProcessLookupError):
                self._child.kill()
            await self._child.wait()

    def _cancel(self, job: int) -> None:
        if self._writer is not None and not self._jobs.has_ended:
            self._writer.write(messages.cancel(job))

    async def _read(self, reader: asyncio.StreamReader, child: asyncio.subprocess.Process) -> None:
        """Hand what comes to those who wait; at the end of the child, fail them. Raises EngineDied."""
        try:
            while True:
                length, kind = messages.HEAD.unpack(await reader.readexactly(messages.HEAD.size))
                self._hear(messages.read(kind, await reader.readexactly(length)))
        except (asyncio.IncompleteReadError, ConnectionError):
            if self._jobs.has_ended:  # it was stopped
                return
            status = await child.wait()
            raise EngineDied(f"the engine process ended with status {status}; the log says why") from None
        except (ValueError, MsgspecError) as error:
            raise EngineDied(f"what the engine process says cannot be read: {error}") from error
        finally:
            self._jobs.end()
            if self._loaded is not None and not self._loaded.done():
                self._loaded.set_exception(EngineEnded("the engine has ended", retry_after_s=1))

    def _hear(self, message: Any) -> None:
        assert self._loaded is not None, "made before the child is asked anything"
        if isinstance(message, messages.Step):
            self._jobs.stepped(message.allowed_s)
        elif isinstance(message, list):
            self._jobs.hear(message)
        elif self._loaded.done():
            raise ValueError("it has loaded already")
        elif isinstance(message, Loaded):
            self._loaded.set_result(message)
        else:
            self._loaded.set_exception(message)


def _receive(stream: BinaryIO, inbox: "SimpleQueue[Any]") -> None:
    """Messages as they come, while the pipeline runs. Without a server there is nobody to run it for."""
    try:
        with suppress(ConnectionError):  # a server that was killed with answers unread
            while len(head := stream.read(messages.HEAD.size)) == messages.HEAD.size:
                length, kind = messages.HEAD.unpack(head)
                if len(body := stream.read(length)) < length:  # or while it wrote
                    break
                inbox.put(messages.read(kind, body))
    except Exception:  # the thread's edge
        _end("what the server says cannot be read")
    os._exit(0)


def _send(connection: socket.socket, outbox: "SimpleQueue[Any]") -> None:
    """Answers, while the pipeline runs the next batch."""
    try:
        with suppress(OSError):  # the server is gone, and so shall we be
            while True:
                connection.sendall(messages.said(outbox.get()))
    except Exception:  # the thread's edge
        _end("an answer cannot be sent")


def _work(connection: socket.socket) -> None:
    """The child: the first message is settings, the others are requests. Ends when the server is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to the whole group; the server says when to end
        signal.signal(number, signal.SIG_IGN)
    inbox: SimpleQueue[Any] = SimpleQueue()
    outbox: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_receive, args=(connection.makefile("rb"), inbox), name="receive", daemon=True).start()
    threading.Thread(target=_send, args=(connection, outbox), name="send", daemon=True).start()
    settings = inbox.get()
    logs.configure("engine", level=settings.log_level, form=settings.log_format)
    try:
        backend = load_backend(settings)
    except ModelError as error:
        outbox.put(error)
    except Exception as error:
        log.exception("the pipeline could not be built")
        outbox.put(error)
    else:
        outbox.put(backend.loaded())
        _answer(backend, inbox, outbox, settings)
    threading.Event().wait()  # until the server, which has been told, ends the connection


def _answer(backend: Backend[Ask], inbox: Inbox, outbox: "SimpleQueue[Any]", settings: Settings) -> None:
    """Run requests until the server is gone; an engine that is unfit for it ends its process."""
    limits = settings.time_limits
    steps = Steps(
        lambda allowed_s: outbox.put(messages.Step(allowed_s)), hang_s=limits.hang_s, most_s=limits.request_timeout_s
    )
    try:
        work(backend, inbox, outbox.put, steps=steps, trial=trial_question(settings.max_new_tokens))
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
