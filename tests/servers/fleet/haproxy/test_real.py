"""A fleet behind a real HAProxy with deploy/haproxy/haproxy.cfg: in step at starts, drains, ends, kills, restarts."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import pytest

from servers.fleet.haproxy.commands import assign, check
from servers.fleet.haproxy.runtime import RuntimeApi
from servers.fleet.haproxy.servers import Server, read_servers
from tests.needs import need
from tests.servers.running import running

pytestmark = [pytest.mark.timeout(180)]
CONFIG = Path(__file__).parents[4] / "deploy" / "haproxy" / "haproxy.cfg"
STUB = ["--profile", "stub", "--stub-batch-s", "0.02"]
DEADLINE_S = 30.0


@dataclass
class HAProxy:
    """A real one. `socket`: its runtime API; `url`: where requests go."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> str:
        return str(self.folder / "s")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start it with the configuration as it is shipped; return when its runtime API answers."""
        places = {"HAPROXY_SOCKET": self.socket, "HAPROXY_FRONT": f"127.0.0.1:{self.port}"}
        self.process = subprocess.Popen(
            ["haproxy", "-q", "-db", "-f", str(CONFIG)],
            env={**os.environ, **places},
            stderr=subprocess.DEVNULL,
        )
        await until(self.answers)

    async def stop(self) -> None:
        """End it, so that it forgets everything."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    async def answers(self) -> bool:
        try:
            return bool(await self.servers())
        except OSError:
            return False

    async def servers(self, *states: str) -> list[Server]:
        """Those in one of the states; without any, all."""
        api = RuntimeApi(self.socket)
        state, stat = [await api.ask(f"show {what}") for what in ("servers state replicas", "stat replicas 6 -1")]
        return [each for each in read_servers("replicas", state, stat) if not states or each.state in states]


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not await holds():
            await asyncio.sleep(0.05)


@pytest.fixture
async def haproxy() -> AsyncIterator[HAProxy]:
    need("haproxy")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        made = HAProxy(Path(folder), port)
        await made.start()
        try:
            yield made
        finally:
            await made.stop()


@asynccontextmanager
async def behind(
    haproxy: HAProxy, folder: Path, *flags: str, base_port: int, count: int, most: int | None = None
) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    """A client of HAProxy and one of the fleet."""
    size = ["--min-replicas", str(count), "--max-replicas", str(most or count), "--base-port", str(base_port)]
    place = ["--traffic", "haproxy", "--haproxy-socket", haproxy.socket]
    async with (
        running(folder, "scaled", *STUB, *size, *place, *flags) as (_, fleet),
        httpx.AsyncClient(base_url=haproxy.url, timeout=30.0) as client,
    ):
        yield client, fleet


async def statuses(client: httpx.AsyncClient, count: int, *, pause_s: float) -> list[int]:
    """Of `count` requests, one each `pause_s`; each gets its own answer and id."""

    async def ask(number: int) -> int:
        await asyncio.sleep(number * pause_s)
        answer = await client.post("/rag", json={"query": f"q{number}"}, headers={"X-Request-Id": f"id{number}"})
        if answer.status_code == 200:
            assert (answer.json()["result"], answer.headers["X-Request-Id"]) == (f"q{number}", f"id{number}")
        return answer.status_code

    return list(await asyncio.gather(*(ask(number) for number in range(count))))


def ports(servers: list[Server]) -> set[int]:
    return {server.place[1] for server in servers}


async def ready(fleet: httpx.AsyncClient) -> dict[int, int]:
    """Pid by port, of the replicas that are ready."""
    listed = (await fleet.get("/replicas")).json()["replicas"]
    return {int(each["url"].rpartition(":")[2]): each["pid"] for each in listed if each["state"] == "ready"}


async def test_a_killed_replica_costs_no_request_and_its_successor_gets_some(haproxy: HAProxy, tmp_path: Path) -> None:
    async with behind(haproxy, tmp_path, base_port=18320, count=2) as (client, fleet):
        before = await ready(fleet)
        assert ports(await haproxy.servers("ready")) == set(before), "when the fleet is ready, HAProxy has its replicas"
        asked = asyncio.create_task(statuses(client, 200, pause_s=0.0125))
        await asyncio.sleep(1.0)
        os.kill(next(iter(before.values())), signal.SIGKILL)
        assert set(await asked) == {200}

        async def is_whole() -> bool:
            now = await ready(fleet)
            return len(now) == 2 and now != before and ports(await haproxy.servers("ready")) == set(now)

        await until(is_whole)
        assert set(await statuses(client, 20, pause_s=0.0)) == {200}
    assert not await haproxy.servers("ready", "drain"), "the fleet frees its servers at its end"


async def test_a_request_whose_body_comes_late_is_asked_again_too(haproxy: HAProxy) -> None:
    """One of two servers reads each question and hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_good: bool) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"POST"):
            await reader.readexactly(2)
        if is_good or head.startswith(b"GET"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        writer.close()

    good, bad = [
        await asyncio.start_server(partial(serve, is_good=is_good), "127.0.0.1", 0) for is_good in (True, False)
    ]
    async with good, bad:
        for number, server in enumerate((good, bad), 1):
            place = ("127.0.0.1", server.sockets[0].getsockname()[1])
            for command in assign("replicas", Server(f"slot{number}", place, "maint", 1), place, 256):
                check(command, await RuntimeApi(haproxy.socket).ask(command))
        for _ in range(6):
            reader, writer = await asyncio.open_connection("127.0.0.1", haproxy.port)
            writer.write(b"POST /rag HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n")
            await asyncio.sleep(0.05)
            writer.write(b"{}")
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            writer.close()


@pytest.mark.slow
async def test_demand_at_haproxy_adds_a_replica_and_its_end_drains_one(haproxy: HAProxy, tmp_path: Path) -> None:
    """No request passes the fleet's own port."""
    flags = [
        "--outstanding-per-replica",
        "4",
        "--down-cooldown-s",
        "1",
        "--max-batch-size",
        "4",
        "--heartbeat-s",
        "0.3",
    ]
    async with behind(haproxy, tmp_path, *flags, "--stub-batch-s", "0.2", base_port=18340, count=1, most=2) as (
        client,
        fleet,
    ):
        is_asking = True
        seen: list[int] = []

        async def user(name: int) -> None:
            while is_asking:
                answer = await client.post("/rag", json={"query": f"user {name}"})
                seen.append(answer.status_code)

        users = [asyncio.create_task(user(name)) for name in range(16)]

        async def are_two() -> bool:
            return len(await haproxy.servers("ready")) == 2

        await until(are_two)
        decided = (await fleet.get("/scaling")).json()["decisions"]
        assert max(decision["arrival_rps"] for decision in decided) > 5
        is_asking = False
        await asyncio.gather(*users)
        few = asyncio.create_task(statuses(client, 100, pause_s=0.1))

        async def is_one() -> bool:
            return len(await ready(fleet)) == 1 and len(await haproxy.servers("ready")) == 1

        await until(is_one)
        assert set(await few) == {200}, "none is lost by the drain"
        assert set(seen) == {200}
        assert ports(await haproxy.servers("ready")) == set(await ready(fleet))


@pytest.mark.slow
async def test_a_haproxy_that_starts_anew_gets_all_replicas_again(haproxy: HAProxy, tmp_path: Path) -> None:
    async with behind(haproxy, tmp_path, base_port=18360, count=2) as (client, fleet):
        assert set(await statuses(client, 10, pause_s=0.0)) == {200}
        await haproxy.stop()

        async def is_noticed() -> bool:
            return "rag_haproxy_failures_total 0.0" not in (await fleet.get("/metrics")).text

        await until(is_noticed)
        await haproxy.start()

        async def is_whole() -> bool:
            return ports(await haproxy.servers("ready")) == set(await ready(fleet))

        await until(is_whole)
        assert set(await statuses(client, 20, pause_s=0.0)) == {200}
    log = (tmp_path / "scaled.log").read_text()
    assert (
        f"HAProxy is not in step with the fleet, and is tried again: HAProxy cannot be reached at {haproxy.socket}"
        in log
    )
    assert "HAProxy is in step with the fleet again" in log


@pytest.mark.slow
async def test_a_slow_replica_gets_a_small_weight(haproxy: HAProxy, tmp_path: Path) -> None:
    flags = ["--slow-replica", "8", "--heartbeat-s", "0.3"]
    async with behind(haproxy, tmp_path, *flags, base_port=18380, count=2) as (client, _):
        assert set(await statuses(client, 150, pause_s=0.02)) == {200}
        low, high = sorted(server.weight for server in await haproxy.servers("ready"))
        assert high == 256
        assert low < 128, "eight times slower by its own report"


@pytest.mark.slow
async def test_keys_are_wanted_as_ever_and_only_tasks_pass(haproxy: HAProxy, tmp_path: Path) -> None:
    async with behind(haproxy, tmp_path, "--api-key", "secret", base_port=18390, count=1) as (client, _):
        answer = await client.post("/rag", json={"query": "q"})
        assert answer.status_code == 401
        key = {"Authorization": "Bearer secret"}
        answer = await client.post("/rag", json={"query": "q"}, headers=key)
        assert (answer.status_code, answer.json()["result"]) == (200, "q")
        assert len(answer.headers["X-Request-Id"]) == 36, "HAProxy gives an id to a request without"
        for path in ("/info", "/metrics", "/ready", "/register"):
            assert (await client.get(path, headers=key)).status_code == 404
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"{haproxy.url}/rag", json={"query": "q"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--haproxy-socket", "/nowhere/admin.sock"], "cannot be reached at /nowhere/admin.sock: No such file"),
        (["--haproxy-backend", "other"], "Can't find backend. (--haproxy-backend"),
        (["--max-replicas", "99"], "has 16 servers, wanted as many as --max-replicas, 99"),
        (["--min-replicas", "0"], "min_replicas: must be >= 1 with --traffic haproxy"),
    ],
)
async def test_a_wrong_setting_is_one_line_and_status_2(haproxy: HAProxy, flags: list[str], message: str) -> None:
    given = ["--traffic", "haproxy", "--haproxy-socket", haproxy.socket, "--port", "0", "--log-level", "error"]
    argv = [sys.executable, "-m", "servers", "scaled", *STUB, *given, *flags]
    done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert message in line
