"""The engine in a process of its own. Server and engine exchange messages.py's messages over a pair of sockets."""

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, BinaryIO, NoReturn

from msgspec import MsgspecError

from servers import exits
from servers.engine import Engine, EngineDied, messages, run
from servers.engine.isolation import EngineUnfit
from servers.engine.loop import Cancel, Submit
from servers.rag.pipeline import Ask
from servers.settings import Settings
from servers.telemetry import logs

log = logging.getLogger(__name__)


class EngineProcess(Engine):
    """In a child process, which ends with the server. If it ends before, the server ends too."""

    def __init__(self) -> None:
        super().__init__()
        self._child: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def stop(self) -> None:
        """Kill the child."""
        self._has_ended = True
        if self._writer is not None:
            self._writer.close()
        if self._child is not None and self._child.returncode is None:
            with suppress(ProcessLookupError):
                self._child.kill()
            await self._child.wait()

    async def _run(self, settings: Settings) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "servers.engine.process", str(theirs.fileno())),
                stdin=asyncio.subprocess.DEVNULL,  # a library that asks a question there gets no answer
                pass_fds=[theirs.fileno()],
            )
        reader, self._writer = await asyncio.open_connection(sock=ours)
        self._writer.write(messages.framed(settings))
        try:
            while True:
                (length,) = messages.HEAD.unpack(await reader.readexactly(messages.HEAD.size))
                self._dispatch(messages.read(await reader.readexactly(length)))
        except (asyncio.IncompleteReadError, ConnectionError):
            if not self._has_ended:
                status = await self._child.wait()
                raise EngineDied(f"the engine process ended with status {status}; the log says why") from None
        except (ValueError, MsgspecError) as error:
            raise EngineDied(f"what the engine process says cannot be read: {error}") from error

    def _send(self, message: Submit[Ask] | Cancel) -> None:
        assert self._writer is not None, "loaded before it is run"
        self._writer.write(messages.framed(message))


def _receive(stream: BinaryIO, inbox: "SimpleQueue[Any]") -> None:
    """Read the server's messages into the inbox. Ends the process when the server is gone."""
    try:
        with suppress(ConnectionError):  # the server was killed with answers unread
            while len(head := stream.read(messages.HEAD.size)) == messages.HEAD.size:
                (length,) = messages.HEAD.unpack(head)
                if len(body := stream.read(length)) < length:  # or while it was writing
                    break
                inbox.put(messages.read(body))
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
        run(settings, inbox, outbox.put)
        threading.Event().wait()  # nothing could be built: until the server closes the connection
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
