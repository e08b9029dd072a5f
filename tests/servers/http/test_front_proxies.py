"""Real proxies in front of our protocol and real clients of it, all of which ask for an Upgrade that it does not speak.

Each user gets the answer to what that user asked, whatever another one hides in a body.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.needs import need
from tests.servers.listening import DEADLINE_S, Listening, echo, listening

pytestmark = [pytest.mark.attack, pytest.mark.timeout(300)]

BODY = '{"query": "Which animals can hover in the air?"}'
CADDY = """{{
    admin off
    auto_https off
}}
:{port} {{
    bind 127.0.0.1
    reverse_proxy 127.0.0.1:{backend}
}}
"""
HAPROXY = """
defaults
    mode http
    timeout connect 30s
    timeout client 60s
    timeout server 60s
    http-reuse always
frontend all
    bind 127.0.0.1:{port}
    default_backend ours
backend ours
    server one 127.0.0.1:{backend}
"""
PROXIES = {
    "caddy": (CADDY, ["caddy", "run", "--adapter", "caddyfile", "--config"]),
    "haproxy": (HAPROXY, ["haproxy", "-db", "-f"]),
}
JAVA = """
import java.net.URI;
import java.net.http.*;

public class Ask {
    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newHttpClient();  // HTTP/2 if the server wants, which an Upgrade asks
        for (int i = 0; i < 3; i++) {
            HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[0]))
                .POST(HttpRequest.BodyPublishers.ofString(arguments[1])).build();
            HttpResponse<String> answer = client.send(request, HttpResponse.BodyHandlers.ofString());
            System.out.println(answer.statusCode() + " " + answer.body());
        }
    }
}
"""


@asynccontextmanager
async def proxy(kind: str, backend: int, folder: Path) -> AsyncIterator[int]:
    """The port of a proxy before ours."""
    need(kind)
    template, argv = PROXIES[kind]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = folder / f"{kind}.conf"
    config.write_text(template.format(port=port, backend=backend))
    log = folder / f"{kind}.log"
    places = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "PATH": "/usr/local/bin:/usr/bin:/usr/sbin:/bin"}
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(*argv, str(config), env=places, stdout=output, stderr=output)
    try:
        async with asyncio.timeout(60):
            while not await accepts(port):
                assert process.returncode is None, log.read_text()
                await asyncio.sleep(0.05)
        yield port
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def attack(port: int, number: int) -> None:
    """A request for an Upgrade whose body is another request, half of them with empty lines before it."""
    hidden = b"\r\n" * (4000 * (number % 2)) + b"GET /hidden HTTP/1.1\r\nHost: localhost\r\n\r\n"
    head = b"POST /attack%d HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n" % number
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head + b"Content-Length: %d\r\n\r\n" % len(hidden) + hidden)
    answer = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in answer, answer
    writer.close()


async def user(client: httpx.AsyncClient, number: int) -> None:
    answer = await client.post(f"/user{number}", content=f"mine{number}")
    assert answer.text == f"<POST /user{number} mine{number}>"


@pytest.mark.parametrize("kind", PROXIES)
async def test_nobody_gets_the_answer_to_what_another_hid_in_a_body(kind: str, tmp_path: Path) -> None:
    asked: list[str] = []

    async def noting(scope: dict[str, str], receive: object, send: object) -> None:
        asked.append(scope["path"])
        await asyncio.sleep(0.005)  # answered at once, the proxy would send no body
        await echo(scope, receive, send)

    async with listening(noting) as server, proxy(kind, server.port, tmp_path) as port, asyncio.timeout(120):
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            for turn in range(40):
                await asyncio.gather(*(attack(port, 4 * turn + one) for one in range(4)))
                await asyncio.gather(*(user(client, 2 * turn + one) for one in range(2)))
        assert "/hidden" not in asked
        assert len(asked) == 240


async def output_of(*argv: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, output.decode()
    return output.decode()


@pytest.fixture
async def server() -> AsyncIterator[Listening]:
    async with listening(echo) as server:
        yield server


async def test_curl_that_would_rather_speak_http_2_gets_its_answer(server: Listening) -> None:
    need("curl")
    argv = ["curl", "-sS", "--noproxy", "*", "--max-time", str(DEADLINE_S), "--http2", "-d", BODY]
    for body in ("", "-HTransfer-Encoding: chunked"):
        told = await output_of(
            *argv, "-w", "%{http_code}", *([body] if body else []), f"http://127.0.0.1:{server.port}/rag"
        )
        assert told == f"<POST /rag {BODY}>200"


@pytest.mark.slow
async def test_the_client_of_the_jdk_gets_its_answers(server: Listening, tmp_path: Path) -> None:
    need("java")
    (tmp_path / "Ask.java").write_text(JAVA)
    told = await output_of("java", str(tmp_path / "Ask.java"), f"http://127.0.0.1:{server.port}/rag", BODY)
    assert told.splitlines() == [f"200 <POST /rag {BODY}>"] * 3
