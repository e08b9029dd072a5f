"""Servers on ::1: bound there, their replicas reached there, others registered by that address."""

import socket
from pathlib import Path

import pytest

from servers.addresses import free_port, reachable
from servers.http.serve import BindError, bind
from tests.servers.running import QUESTION, running


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


pytestmark = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no ::1")


@pytest.mark.parametrize(
    ("host", "address"),
    [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("::1", "::1"), ("fd00::5", "fd00::5"), ("gpu-1", "gpu-1")],
)
def test_where_a_server_is_reached(host: str, address: str) -> None:
    assert reachable(host) == address


def test_a_taken_port_is_named_in_brackets_and_passed_over() -> None:
    with bind("::1", 0) as listener:
        port = listener.getsockname()[1]
        assert free_port("::1", port) > port
        with pytest.raises(BindError, match=rf"cannot listen on \[::1\]:{port}: Address already in use"):
            bind("::1", port)


@pytest.mark.parametrize("host", ["a" * 300, "a\0b", "..", ":::"])
def test_a_host_that_is_none_is_one_line(host: str) -> None:
    with pytest.raises(BindError, match="cannot listen on "):
        bind(host, 0)


@pytest.mark.slow
async def test_a_fleet_answers_on_ipv6_alone_with_replicas_of_its_own_and_registered_ones(tmp_path: Path) -> None:
    flags = ["--profile", "stub", "--engine", "thread", "--host", "::1"]
    fleet = ["--base-port", "18970", "--min-replicas", "1", "--max-replicas", "1", "--routing", "round_robin"]
    async with (
        running(tmp_path, "scaled", *flags, *fleet) as (server, client),
        running(tmp_path, "batched", *flags) as (elsewhere, _),
    ):
        assert server.url.startswith("http://[::1]:")
        assert (await client.post("/rag", json=QUESTION)).status_code == 200
        [own] = (await client.get("/replicas")).json()["replicas"]
        assert own["url"].startswith("http://[::1]:")
        assert "settings" in (await client.get("/info")).json()
        assert (await client.post("/register", json={"url": server.url})).status_code == 422
        there = elsewhere.url.replace("::1", "0:0:0:0:0:0:0:1")
        assert (await client.post("/register", json={"url": there})).json()["url"] == elsewhere.url
        answers = [await client.post("/rag", json=QUESTION) for _ in range(4)]
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.headers["X-Replica"] for answer in answers}) == 2
