"""Every operation that a running server's own schema lists, asked well and amiss by schemathesis, which also judges.

The judge's rules are in schemathesis.toml: never a 5xx but 503, no status, header or body that the schema does not tell
of, nothing accepted that the schema forbids, nothing refused that it allows.
"""

import asyncio
import sys
from pathlib import Path

import httpx
import pytest

from tests.servers.running import running

pytestmark = pytest.mark.attack

CONFIG = Path(__file__).with_name("schemathesis.toml")
ONE_REPLICA = ["--min-replicas", "1", "--max-replicas", "1"]
KEY = "a-key-for-the-fuzzer"


async def fuzz(url: str, folder: Path, *, key: str | None = None) -> str:
    """What schemathesis finds; empty where all is well."""
    header = ["--header", f"Authorization: Bearer {key}"] if key else []
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run", f"{url}/openapi.json"),
        *("--seed", "1", "--max-examples", "40", "--no-color", "--warnings", "off", *header),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=folder,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    return "" if process.returncode == 0 else output.decode()


@pytest.mark.slow
@pytest.mark.parametrize("design", ["baseline", "batched"])
async def test_a_server_keeps_to_its_schema_whatever_it_is_asked(design: str, tmp_path: Path) -> None:
    async with running(tmp_path, design, "--profile", "stub", "--engine", "thread") as (server, client):
        assert not (problems := await fuzz(server.url, tmp_path)), problems
        assert (await client.get("/ready")).status_code == 200


@pytest.mark.slow
async def test_a_fleet_keeps_to_its_schema_and_is_led_nowhere(tmp_path: Path) -> None:
    flags = ["--profile", "stub", "--engine", "thread", "--base-port", "18700", *ONE_REPLICA]
    async with running(tmp_path, "scaled", *flags) as (server, client):
        before = await listed(client)
        assert not (problems := await fuzz(server.url, tmp_path)), problems
        assert await listed(client) == before


@pytest.mark.slow
async def test_a_locked_server_opens_nothing_without_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """schemathesis asks each route again with no key and with a wrong one, and wants a 401."""
    monkeypatch.setenv("RAG_API_KEY", KEY)
    async with running(tmp_path, "batched", "--profile", "stub", "--engine", "thread") as (server, client):
        assert (await client.get("/openapi.json")).status_code == 401
        assert not (problems := await fuzz(server.url, tmp_path, key=KEY)), problems


async def listed(client: httpx.AsyncClient) -> set[str]:
    """The addresses of the replicas there are."""
    return {replica["url"] for replica in (await client.get("/replicas")).json()["replicas"]}
