"""Real servers against those who mean no good: without the key, with wrong addresses, with odd HTTP, slowly."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import psutil
import pytest
from aiohttp import web

from tests.servers.running import QUESTION, running

STUB = ["--profile", "stub", "--engine", "thread"]
KEY, TOKEN = "the-key", "the-token"


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def test_a_fleet_with_a_key_answers_nobody_without_and_tells_it_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAG_API_KEY", KEY)
    monkeypatch.setenv("RAG_ADMIN_TOKEN", TOKEN)
    flags = [*STUB, "--base-port", "18800", "--min-replicas", "1", "--max-replicas", "1", "--log-level", "debug"]
    async with running(tmp_path, "scaled", *flags) as (server, client):
        for path in ("/health", "/ready"):
            assert (await client.get(path)).status_code == 200
        for path in ("/info", "/metrics", "/replicas", "/assign", "/openapi.json", "/docs", "/nowhere"):
            assert (await client.get(path)).status_code == 401
        for path in ("/rag", "/register", "/unregister"):
            answer = await client.post(path, json=QUESTION, headers=bearer("wrong"))
            assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
            assert answer.json() == {"detail": "a bearer key is needed here"}

        for key in (KEY, TOKEN):
            assert (await client.post("/rag", json=QUESTION, headers=bearer(key))).status_code == 200
        backend = (await client.get("/assign", headers=bearer(KEY))).json()["backend"]
        assert (await client.post(backend, json=QUESTION)).status_code == 401
        assert (await client.post(backend, json=QUESTION, headers=bearer(KEY))).status_code == 200
        there = {"url": backend.removesuffix("/rag")}
        assert (await client.post("/register", json=there, headers=bearer(KEY))).status_code == 403
        assert (await client.post("/register", json=there, headers=bearer(TOKEN))).status_code == 200

        told = [(await client.get(path, headers=bearer(KEY))).text for path in ("/info", "/replicas", "/metrics")]
        parent = psutil.Process(server.pid)
        told += [" ".join(process.cmdline()) for process in (parent, *parent.children(recursive=True))]
        told.append((tmp_path / "scaled.log").read_text())
        assert len(told) >= 6
        assert not [text for text in told if KEY in text or TOKEN in text]


@pytest.fixture
async def turncoat() -> AsyncIterator[str]:
    """A server which says that it is ready and elsewhere; its address."""

    async def elsewhere(request: web.Request) -> web.Response:
        raise web.HTTPFound("/there")

    async def there(request: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.router.add_get("/ready", elsewhere)
    app.router.add_get("/there", there)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.mark.slow
async def test_a_balancer_is_aimed_at_nothing_but_replicas_of_allowed_hosts(tmp_path: Path, turncoat: str) -> None:
    flags = [*STUB, "--base-port", "18900", "--min-replicas", "1", "--max-replicas", "1", "--admin-token", TOKEN]
    async with running(tmp_path, "scaled", *flags) as (server, client):

        async def register(url: str) -> httpx.Response:
            return await client.post("/register", json={"url": url}, headers=bearer(TOKEN))

        port = httpx.URL(server.url).port
        own = (
            "127.0.0.1",
            "127.1",
            "0.0.0.0",
            "[::ffff:127.0.0.1]",
            "2130706433",
            "localhost.",
            "LOCALHOST",
            "127.0.0.2",
        )
        for host in own:
            answer = await register(f"http://{host}:{port}")
            assert (answer.status_code, answer.json()["detail"]) == (422, "url: that is this balancer itself")
        for host in ("169.254.169.254", "example.org", "10.1.2.3:8000", "127.0.0.1.example.org"):
            answer = await register(f"http://{host}")
            assert answer.status_code == 422
            assert "is not among the hosts of --allow-hosts" in answer.json()["detail"]
        assert "answers GET /ready with 200" in (await register(turncoat)).json()["detail"]
        [replica] = (await client.get("/replicas")).json()["replicas"]
        assert replica["pid"] is not None
