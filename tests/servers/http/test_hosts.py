"""Whose request it is: what is addressed to another name, or sent by another site's page, is refused."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from policies.routing import round_robin
from servers.fleet.asking.client import ReplicaClient
from servers.fleet.balancer import Balancer
from servers.fleet.replica import Replica, Roster
from servers.fleet.routes import add_routes
from servers.http.app import create_app
from servers.http.auth import about_origin, host_check
from servers.http.middleware import Front
from servers.http.serve import warn_if_open
from servers.http.state import State
from servers.scaled import ScaledSettings, create
from servers.settings import Settings

LOOPBACK = ["localhost", "LOCALHOST:8000", "127.0.0.1", "127.0.0.1:8000", "127.9.9.9", "[::1]:9000", "localhost.:80"]
OTHERS = [
    "evil.example",
    "evil.example:8000",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "10.0.0.1",
    "",
    "a b",
]
OTHERS += ["[::2]", "localhost:80:80", "localhost/", "evil@localhost", "localhost,evil.example", "[localhost]"]


def is_refused(host: str, *, bound: str, hosts: str | None = None) -> bool:
    about_host = host_check(bound, hosts)
    return about_host({b"host": host.encode("latin-1")}) is not None


@pytest.mark.attack
def test_on_loopback_a_host_is_a_loopback_name_or_a_listed_one() -> None:
    for bound in ("127.0.0.1", "localhost", "::1"):
        assert [host for host in LOOPBACK if is_refused(host, bound=bound)] == []
        assert [host for host in OTHERS if not is_refused(host, bound=bound)] == []
    hosts = "rag.example, 10.0.0.0/8"
    listed = [*LOOPBACK, "rag.example", "RAG.example:443", "10.1.2.3:8000"]
    assert [host for host in listed if is_refused(host, bound="127.0.0.1", hosts=hosts)] == []
    assert is_refused("evil.example", bound="127.0.0.1", hosts=hosts)


def test_elsewhere_a_host_is_checked_where_there_is_a_list() -> None:
    assert not is_refused("evil.example", bound="0.0.0.0")
    for host in (*LOOPBACK, "192.0.2.1:8000", "rag.example"):
        assert not is_refused(host, bound="192.0.2.1", hosts="rag.example")
    assert is_refused("evil.example", bound="0.0.0.0", hosts="rag.example")
    about_host = host_check("127.0.0.1", None)
    assert about_host({}) is None  # no browser


@pytest.mark.parametrize(("origin", "host", "is_well"), [
    ("http://localhost:8000", "localhost:8000", True),
    ("http://LOCALHOST", "localhost:80", True),
    ("https://rag.example", "rag.example:443", True),
    ("https://rag.example", "rag.example", True),
    ("http://localhost:8001", "localhost:8000", False),
    ("http://127.0.0.1:8000", "localhost:8000", False),
    ("http://evil.example", "localhost:8000", False),
    ("null", "localhost:8000", False),
    ("", "", False),
    ("localhost:8000", "localhost:8000", False),
    ("file://", "", False),
])  # fmt: skip
def test_an_origin_is_the_host_itself(origin: str, host: str, *, is_well: bool) -> None:
    assert (about_origin({b"origin": origin.encode(), b"host": host.encode()}) is None) is is_well


class Finding(ReplicaClient):
    """Finds every replica ready."""

    async def is_ready(self, url: str, *, timeout_s: float = 2.0) -> bool:
        return True


class Registering:
    """A design that has the routes about replicas and no more."""

    def __init__(self, admin_token: str | None) -> None:
        self.roster = Roster()
        self._token = admin_token

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def info(self) -> dict[str, Any]:
        return {}

    def mount(self, app: FastAPI, state: State) -> None:
        balancer = Balancer(self.roster, round_robin)
        balancer.client = Finding(timeout_s=1.0)
        add_routes(
            app, self.roster, balancer, admin_token=self._token, allow_hosts="localhost,10.0.0.0/8", max_registered=16
        )


@pytest.fixture
def fleet() -> Callable[..., tuple[Registering, httpx.AsyncClient]]:
    def made(admin_token: str | None = None) -> tuple[Registering, httpx.AsyncClient]:
        design = Registering(admin_token)
        app = create_app("fleet", Settings(), design, State(ready=True))
        headers = {} if admin_token is None else {"Authorization": f"Bearer {admin_token}"}
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app, client=("127.0.0.1", 5)), base_url="http://127.0.0.1:9", headers=headers
        )
        return design, client

    return made


@pytest.mark.attack
async def test_a_page_of_another_site_reads_and_registers_nothing(fleet: Any) -> None:
    design, client = fleet()
    async with client:
        for headers in ({"Host": "evil.example:9"}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
            for path in ("/info", "/metrics", "/replicas", "/openapi.json", "/docs", "/rag"):
                assert (await client.get(path, headers=headers)).status_code == 403
            there = {"url": "http://127.0.0.1:8001"}
            assert (await client.post("/register", json=there, headers=headers)).status_code == 403
        assert list(design.roster) == []
        for path in ("/health", "/ready"):
            assert (await client.get(path, headers={"Origin": "http://evil.example"})).status_code == 200
        own = {"Origin": "http://127.0.0.1:9"}
        assert (await client.post("/register", json={"url": "http://127.0.0.1:8001"}, headers=own)).status_code == 200


async def test_a_request_with_two_hosts_is_refused() -> None:
    sent: list[Any] = []

    async def never(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"host", b"evil.example")]
    middleware: Any = Front(never, Settings(max_body_bytes=10), State())
    await middleware({"type": "http", "method": "GET", "path": "/info", "headers": headers}, None, send)
    assert sent[0]["status"] == 400


@pytest.mark.attack
async def test_one_process_under_many_loopback_addresses_is_one_replica(fleet: Any) -> None:
    design, client = fleet()
    async with client:
        told = [
            (await client.post("/register", json={"url": f"http://{host}:8001"})).status_code
            for host in ("127.0.0.1", "127.0.0.1", "127.0.0.2", "127.9.9.9", "[::1]", "10.0.0.1", "localhost")
        ]
        assert told == [200, 200, 422, 422, 422, 200, 200]
        design.roster.add(Replica("http://127.0.0.1:8002", state="ready"))  # one of the fleet's own
        answer = await client.post("/register", json={"url": "http://127.0.0.7:8002"})
        assert answer.json()["detail"].startswith("url: that is the replica http://127.0.0.1:8002;")


@pytest.mark.attack
async def test_without_a_token_there_is_an_end_to_registering(fleet: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "servers.fleet.routes")
    design, client = fleet()
    async with client:
        told = [
            await client.post("/register", json={"url": f"http://127.0.0.1:{8000 + number}"}) for number in range(20)
        ]
        assert [answer.status_code for answer in told] == [200] * 16 + [403] * 4
        assert "max_registered" in told[-1].json()["detail"]
        assert (await client.post("/register", json={"url": "http://127.0.0.1:8003"})).status_code == 200  # known
        assert (await client.post("/unregister", json={"url": "http://127.0.0.1:8003"})).status_code == 200
        assert (await client.post("/register", json={"url": "http://127.0.0.1:8999"})).status_code == 200
    assert len(list(design.roster)) == 16
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "http://127.0.0.1:8000 was registered"
    assert lines[-2:] == ["http://127.0.0.1:8003 was unregistered", "http://127.0.0.1:8999 was registered"]
    assert len(lines) == 19
    design, client = fleet("secret")
    async with client:
        for number in range(20):
            told = await client.post("/register", json={"url": f"http://127.0.0.1:{8000 + number}"})
            assert told.status_code == 200


def test_lists_of_hosts_are_checked_at_start() -> None:
    for given in ({"hosts": "a b"}, {"allow_hosts": "*"}):
        with pytest.raises(ValueError, match="wanted names"):
            ScaledSettings(**given)
    assert ScaledSettings().max_registered == 16


def test_start_up_says_what_is_open(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    warn_if_open(Settings(host="0.0.0.0"))
    warn_if_open(Settings(host="0.0.0.0", hosts="rag.example", api_key="secret"))
    warn_if_open(Settings())
    create(ScaledSettings(profile="stub", admin_token="secret")).mount(FastAPI(), State())
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "0.0.0.0 can be reached by others and asks for no key",
        "Host is not checked on 0.0.0.0",
    ]
    caplog.clear()
    create(ScaledSettings(profile="stub")).mount(FastAPI(), State())
    assert "on a shared one, set RAG_ADMIN_TOKEN" in caplog.records[0].getMessage()
