"""The socket that a server listens on, and the warning where anybody may use it."""

import asyncio
import os
import signal
import socket
import sys
from typing import Any

import pytest
from fastapi import FastAPI

from servers.http.serve import BindError, bind, run, warn_if_open
from servers.http.state import State
from servers.settings import Settings
from servers.tasks import Background


async def test_accepted_connections_send_without_delay() -> None:
    """Otherwise an answer in two segments waits up to 40 ms for the client's delayed acknowledgement."""
    accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        accepted.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    listener = bind("127.0.0.1", 0)
    async with await asyncio.start_server(connected, sock=listener):
        _, writer = await asyncio.open_connection(*listener.getsockname())
        assert await asyncio.wait_for(accepted, 5)
        writer.close()
        await writer.wait_closed()


def test_port_0_is_any_free_port_and_a_taken_one_is_one_clear_line() -> None:
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert port > 0
        with pytest.raises(BindError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            bind("127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "key", "expected"),
    [
        ("127.0.0.1", None, False),
        ("localhost", None, False),
        ("::1", None, False),
        ("0.0.0.0", None, True),
        ("::", None, True),
        ("gpu-1", None, True),
        ("0.0.0.0", "key", False),
    ],
)
def test_an_open_door_is_warned_of(
    host: str, key: str | None, caplog: pytest.LogCaptureFixture, *, expected: bool
) -> None:
    warn_if_open(Settings(host=host, api_key=key))
    assert ("asks for no key: set RAG_API_KEY" in caplog.text) is expected


class FailsWhileItDrains:
    """A design one of whose tasks fails when its server has been told to stop."""

    def __init__(self) -> None:
        self.is_stopped = False

    async def start(self, background: Background) -> None:
        background.start(self._fail(), name="fails")
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGTERM)

    async def stop(self) -> None:
        self.is_stopped = True

    def info(self) -> dict[str, Any]:
        return {}

    def mount(self, app: FastAPI, state: State) -> None:
        self.state = state

    async def _fail(self) -> None:
        while not self.state.draining:
            await asyncio.sleep(0)
        raise OSError("while it drains")


def test_a_design_is_stopped_whatever_fails_while_it_drains() -> None:
    design = FailsWhileItDrains()
    with pytest.raises(OSError, match="while it drains"):
        run("test", design, Settings(port=0))
    assert design.is_stopped


FAILS_AT_START = """
import runpy, sys
import servers.engine

def fail(settings):
    raise KeyError("a bug")

servers.engine.load_backend = fail
sys.argv[1:] = "batched --port 0 --stop-with-parent --engine thread --profile stub".split()
runpy.run_module("servers", run_name="__main__", alter_sys=True)
"""


async def test_an_error_at_start_is_a_traceback_a_line_and_an_ordinary_status() -> None:
    """Not SIGABRT and a core, as where the interpreter is torn down round a thread that reads stdin."""
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", FAILS_AT_START, stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert server.stderr is not None
    said = (await server.stderr.read()).decode()  # stdin stays open meanwhile: the parent lives
    assert await server.wait() == 1
    assert "Traceback" in said
    assert said.splitlines()[-1] == "batched: stopped by an error that nobody expected: KeyError: 'a bug'"
