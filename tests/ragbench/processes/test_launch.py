import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import aiohttp
import psutil
import pytest

from ragbench.processes.child import ChildError
from ragbench.processes.launch import Remote, listener, ready_address, start
from tests.ragbench.running import FAKE, ROOT, fake, fakes_alive


@pytest.fixture
def log(tmp_path):
    return tmp_path / "server.log"


def gone(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize(
    ("line", "address"),
    [
        (b'{"ready": true, "port": 40213, "pid": 977}', "127.0.0.1:40213"),
        (b'{"ready": true, "port": 1}\r', "127.0.0.1:1"),
        (b'{"ready": true, "port": 1, "host": "::1"}', "[::1]:1"),
        (b'{"ready": true, "port": 1, "host": "10.0.0.5"}', "10.0.0.5:1"),
        (b'{"ready": true, "port": 1, "host": "a@b/"}', None),
        (b'{"ready": true, "port": 1, "host": 7}', None),
        (b'{"ready": false, "port": 1}', None),
        (b'{"ready": 1, "port": 1}', None),
        (b'{"ready": true}', None),
        (b'{"ready": true, "port": "80"}', None),
        (b'{"ready": true, "port": 0}', None),
        (b'{"ready": true, "port": true}', None),
        (b"INFO ready", None),
        (b"[1]", None),
        (b"\xff", None),
        (b"", None),
        (b"[" * 99_999, None),
    ],
)
def test_ready_address(line, address):
    assert ready_address(line) == address


async def test_start_and_stop(log):
    server = await start(fake(), log=log, ready_timeout_s=20)
    async with aiohttp.request("GET", f"{server.url}/info") as answer:
        assert answer.status == 200
    assert os.getsid(server.pid) == server.pid  # a session of its own: Ctrl-C in the terminal is the harness's alone
    assert server.failure() is None
    assert list(await server.stop()) == []
    assert gone(server.pid)
    assert server.failure() == "the server exited with code 0"


async def test_the_log_holds_both_streams_and_is_handed_out_in_parts(log):
    server = await start(fake(), log=log, ready_timeout_s=20)
    first = server.new_log()
    assert "fake starts in mode normal" in first
    assert "an ordinary line on stdout" in first
    assert server.new_log() == ""
    await server.stop()


async def test_environment_and_directory_are_the_callers(log, monkeypatch):
    monkeypatch.setenv("RAG_TEST_MARK", "seen")
    with pytest.raises(ChildError):
        await start(["sh", "-c", 'echo "$RAG_TEST_MARK" "$PWD"'], log=log, ready_timeout_s=20)
    assert log.read_text() == f"seen {Path.cwd()}\n"


async def test_signals_are_as_in_a_shell(log):
    """Python ignores SIGPIPE; a server must not inherit that."""
    with pytest.raises(ChildError, match="was killed by SIGPIPE"):
        await start(["sh", "-c", "kill -PIPE $$; echo still here"], log=log, ready_timeout_s=20)


async def test_one_that_dies_at_the_start(log):
    with pytest.raises(ChildError) as caught:
        await start(fake("dies-at-start"), log=log, ready_timeout_s=20)
    assert caught.value.reason.startswith("the server exited with code 1 before its ready line: ")
    assert "\n" not in caught.value.reason
    assert str(caught.value).endswith("its log ends:\n    fake starts in mode dies-at-start\n    no model here")


@pytest.mark.slow
async def test_one_that_never_gets_ready(log):
    with pytest.raises(
        ChildError, match=r"(?s)no ready line within 1\.5 s .*fake starts in mode never-ready"
    ) as caught:
        await start(fake("never-ready", "--mark", str(log)), log=log, ready_timeout_s=1.5)
    assert "ready_timeout_s" in caught.value.reason
    assert fakes_alive(log) == []


async def test_a_command_that_does_not_exist(log):
    log.write_text("of the server before")
    with pytest.raises(ChildError, match="there is no command 'no-such-server' here or on PATH"):
        await start(["no-such-server"], log=log, ready_timeout_s=1)
    assert log.read_text() == ""


async def test_one_that_ignores_sigterm_is_killed(log):
    server = await start(fake("ignores-sigterm"), log=log, ready_timeout_s=20)
    assert list(await server.stop(grace_s=0.2)) == []
    assert gone(server.pid)
    assert server.failure() == "the server was killed by SIGKILL"


async def test_a_child_in_a_session_of_its_own_is_stopped_too(log):
    server = await start(fake("with-child"), log=log, ready_timeout_s=20)
    child = int(server.new_log().split("child ")[1].split()[0])
    assert not gone(child)
    assert list(await server.stop(grace_s=0.3)) == []
    assert gone(child)


async def test_a_child_is_stopped_even_when_its_server_was_killed(log):
    server = await start(fake("with-child"), log=log, ready_timeout_s=20)
    child = int(server.new_log().split("child ")[1].split()[0])
    os.kill(server.pid, signal.SIGKILL)
    await asyncio.wait_for(server.ended(), timeout=5)
    assert server.failure() == "the server was killed by SIGKILL"
    assert not gone(child)
    await server.stop()
    assert gone(child)


async def test_a_daemon_of_a_server_is_ended_and_told_of(log):
    server = await start(fake("with-daemon"), log=log, ready_timeout_s=20)
    daemon = int(server.new_log().split("daemon ")[1].split()[0])
    assert not gone(daemon)
    assert await server.stop() == [
        f"the server left processes behind that were no longer below it; ended: sleep ({daemon})"
    ]
    assert gone(daemon)


async def test_only_what_carries_a_servers_own_mark_is_ended_with_it(log, tmp_path):
    one = await start(fake("with-daemon"), log=log, ready_timeout_s=20)
    other = await start(fake("with-daemon"), log=tmp_path / "other", ready_timeout_s=20)
    daemon = int(other.new_log().split("daemon ")[1].split()[0])
    await one.stop()
    assert not gone(daemon)
    assert other.failure() is None
    await other.stop()
    assert gone(daemon)


async def test_a_stop_that_is_cancelled_kills_at_once(log):
    server = await start(fake("ignores-sigterm"), log=log, ready_timeout_s=20)
    stopping = asyncio.create_task(server.stop(grace_s=600))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    await asyncio.wait_for(server.ended(), timeout=5)
    assert server.failure() == "the server was killed by SIGKILL"
    await server.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's signal on a parent's death is Linux")
def test_a_killed_harness_leaves_no_server(tmp_path):
    script = (
        "import asyncio, sys, pathlib\n"
        "from ragbench.processes.launch import start\n"
        "async def main():\n"
        f"    command = [sys.executable, {str(FAKE)!r}]\n"
        "    server = await start(command, log=pathlib.Path(sys.argv[1]), ready_timeout_s=20)\n"
        "    print(server.pid, flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    harness = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "log")], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert harness.stdout is not None
    server = psutil.Process(int(harness.stdout.readline()))
    harness.kill()
    harness.wait(timeout=10)
    harness.stdout.close()
    _, alive = psutil.wait_procs([server], timeout=10)
    assert alive == []


def test_the_server_somebody_else_started(elsewhere):
    pid = listener(f"{elsewhere}/rag")
    assert str(FAKE) in psutil.Process(pid).cmdline()
    assert Remote(elsewhere).pid == pid
    assert listener(elsewhere.replace("127.0.0.1", "localhost")) == pid


def test_nobody_listens_there_or_it_is_elsewhere(elsewhere):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert listener(f"http://127.0.0.1:{bound.getsockname()[1]}") is None
    assert listener(elsewhere.replace("127.0.0.1", "192.0.2.1")) is None
    assert listener("http://192.0.2.1") is None


def test_where_the_sockets_cannot_be_seen(elsewhere, monkeypatch):
    def refuse(kind):
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", refuse)
    assert listener(elsewhere) is None
