"""The pipeline in a process of its own, and the server's end of it. Decides nothing.

Messages are pickles, each after its length, over a pair of sockets that only the two have.
"""

import asyncio
import gc
import logging
import os
import pickle
import signal
import socket
import struct
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from servers.engine import EngineDied, Loaded, about, load_pipeline
from servers.rag.models import ModelError
from servers.rag.pipeline import Answered, Ask, Pipeline
from servers.rag.stub import Stub
from servers.settings import Settings

__all__ = ["EngineProcess"]

log = logging.getLogger(__name__)
_LENGTH = struct.Struct("!Q")


class EngineProcess:
    """In a child that ends with us. Should it end before, the server stops: it cannot answer any more."""

    def __init__(self) -> None:
        self._child: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._waiting: deque[asyncio.Future[Any]] = deque()
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
        loaded: Loaded = await self._ask(settings)
        return loaded

    async def run(self, asks: Sequence[Ask]) -> Sequence[Answered]:
        """See Engine."""
        answers: Sequence[Answered] = await self._ask(asks)
        return answers

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

    async def _ask(self, message: Any) -> Any:
        assert self._writer is not None, "loaded before it is run"
        if self._reading is None or self._reading.done():
            raise EngineDied("the engine process has ended")
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        self._writer.write(_framed(message))
        # Whoever gives up leaves the run going, and its answer to be dropped.
        return await asyncio.shield(answer)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        """Hand answers to those who wait, in order; at the end of the child, fail them and stop the server."""
        try:
            while True:
                (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
                answer = pickle.loads(await reader.readexactly(length))  # noqa: S301  from our own child
                future = self._waiting.popleft()
                if future.cancelled():
                    continue
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            assert self._child is not None, "it was read from"
            log.critical("the engine process ended with status %d (%s): stopping", await self._child.wait(), error)
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            for future in self._waiting:
                if not future.done():
                    future.set_exception(EngineDied("the engine process has ended"))
                    future.exception()  # seen, should nobody wait any more


def _framed(message: Any) -> bytes:
    data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(data)) + data


def _work(connection: socket.socket) -> None:
    """The child: the first message is settings, every other one a list of questions. Ends when the server is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to the whole group; the server says when to end
        signal.signal(number, signal.SIG_IGN)
    pipeline: Pipeline | Stub | None = None
    with connection, connection.makefile("rb") as stream:
        while head := stream.read(_LENGTH.size):
            (length,) = _LENGTH.unpack(head)
            message = pickle.loads(stream.read(length))  # noqa: S301  from our own parent
            answer: Any
            try:
                if pipeline is None:
                    pipeline = load_pipeline(message)
                    answer = about(pipeline)
                    gc.collect()
                    gc.freeze()
                else:
                    answer = pipeline.run(message)
            except ModelError as error:
                answer = error
            except Exception as error:
                log.exception("the pipeline failed")
                answer = error
            connection.sendall(_framed(answer))


if __name__ == "__main__":
    logging.basicConfig(
        level=logging.INFO, format=f"%(asctime)s %(levelname)s engine[{os.getpid()}] %(message)s", stream=sys.stderr
    )
    _work(socket.socket(fileno=int(sys.argv[1])))
    os._exit(0)
