"""The engine in a process of its own. Server and engine exchange messages.py's messages over a pair of sockets."""

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
from servers.engine.loop import Cancel, Inbox, work
from servers.engine.progress import Progress
from servers.errors import EngineEnded
from servers.rag.models import ModelError
from servers.rag.pipeline import Answered, Ask
from servers.settings import Settings
from servers.tasks import Background
from servers.telemetry import logs

log = logging.getLogger(__name__)


class EngineProcess:
    """In a child process, which ends with the server. If it ends before, the server ends too."""

    def __init__(self) -> None:
        self._child: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._jobs = Jobs()
        self._loaded: asyncio.Future[Loaded] | None = None

    @property
    def progress(self) -> Progress:
        """As the child reports it."""
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
        self._writer.write(messages.framed(settings))
        loaded = await self._loaded
        self._jobs.progress.hang_s = settings.time_limits.hang_s
        return loaded

    def submit(self, asks: Sequence[Ask], *, stream: bool = False) -> list[Job[Answered]]:
        """Over the connection."""
        assert self._writer is not None, "loaded before it is run"
        message, jobs = self._jobs.issue(asks, self._cancel, stream=stream)
        if not self._jobs.has_ended:
            try:
                self._writer.write(messages.framed(message))
            except (TypeError, ValueError) as error:  # a lone surrogate
                self._jobs.fail(jobs, error)
        return jobs

    async def stop(self) -> None:
        """Kill the child."""
        self._jobs.has_ended = True
        if self._writer is not None:
            self._writer.close()
        if self._child is not None and self._child.returncode is None:
            with suppress(ProcessLookupError):
                self._child.kill()
            await self._child.wait()

    def _cancel(self, job: int) -> None:
        if self._writer is not None and not self._jobs.has_ended:
            self._writer.write(messages.framed(Cancel(job)))

    async def _read(self, reader: asyncio.StreamReader, child: asyncio.subprocess.Process) -> None:
        """Dispatch the child's messages; at its end, fail its jobs. Raises EngineDied."""
        try:
            while True:
                length, kind = messages.HEAD.unpack(await reader.readexactly(messages.HEAD.size))
                self._dispatch(messages.read(kind, await reader.readexactly(length)))
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

    def _dispatch(self, message: Any) -> None:
        assert self._loaded is not None, "made before the child is asked anything"
        if isinstance(message, messages.Step):
            self._jobs.stepped(message.allowed_s)
        elif isinstance(message, list):
            self._jobs.dispatch(message)
        elif self._loaded.done():
            raise ValueError("it has loaded already")
        elif isinstance(message, Loaded):
            self._loaded.set_result(message)
        else:
            self._loaded.set_exception(message)


def _receive(stream: BinaryIO, inbox: "SimpleQueue[Any]") -> None:
    """Read the server's messages into the inbox. Ends the process when the server is gone."""
    try:
        with suppress(ConnectionError):  # the server was killed with answers unread
            while len(head := stream.read(messages.HEAD.size)) == messages.HEAD.size:
                length, kind = messages.HEAD.unpack(head)
                if len(body := stream.read(length)) < length:  # or while it was writing
                    break
                inbox.put(messages.read(kind, body))
    except Exception:  # the thread's edge
        _end("what the server says cannot be read")
    os._exit(0)


def _send(connection: socket.socket, outbox: "SimpleQueue[Any]") -> None:
    """Write the outbox to the server."""
    try:
        with suppress(OSError):  # the server is gone
            while True:
                connection.sendall(messages.framed(outbox.get()))
    except Exception:  # the thread's edge
        _end("an answer cannot be sent")


def _work(connection: socket.socket) -> None:
    """Run the child: the first message is settings, the others are requests."""
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to the whole process group; the server ends this process
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
    threading.Event().wait()  # until the server closes the connection


def _answer(backend: Backend[Ask], inbox: Inbox, outbox: "SimpleQueue[Any]", settings: Settings) -> None:
    """Run requests until the server is gone, or end the process if the engine is unfit."""
    limits = settings.time_limits
    steps = Steps(
        lambda allowed_s: outbox.put(messages.Step(allowed_s)), hang_s=limits.hang_s, most_s=limits.request_timeout_s
    )
    try:
        work(backend, inbox, outbox.put, steps=steps, trial=trial_question(settings.max_new_tokens))
    except EngineUnfit as error:
        log.critical("the engine ends: %s", error)
    except Exception:
        _end("an unexpected error")
    sys.stderr.flush()
    os._exit(exits.ENGINE_ENDED)


def _end(why: str) -> NoReturn:
    """End the process because of the current exception."""
    log.critical("the engine ends: %s", why, exc_info=True)
    sys.stderr.flush()
    os._exit(exits.ENGINE_ENDED)


if __name__ == "__main__":
    _work(socket.socket(fileno=int(sys.argv[1])))
