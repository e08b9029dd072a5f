import asyncio
import json
import ssl
import subprocess
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from ragbench.load.client import ServiceError, connect
from ragbench.load.target import Target
from ragbench.study.questions import Question
from ragbench.study.schedule import Request
from tests.needs import need
from tests.ragbench.running import ragbench, write_questions


def openssl(folder, *arguments):
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A folder of NAME.pem with NAME.key: self-signed, each fit for another host or another day."""
    need("openssl")
    folder = tmp_path_factory.mktemp("certificates")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=test")
    for name, host in {"good": "IP:127.0.0.1", "name": "DNS:example.org", "address": "IP:10.1.2.3"}.items():
        files = ("-keyout", f"{name}.key", "-out", f"{name}.pem")
        openssl(folder, "req", "-x509", *key, *files, "-days", "2", "-addext", f"subjectAltName={host}")
    openssl(folder, "req", "-new", *key, "-keyout", "expired.key", "-out", "expired.csr")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    signing = ("-req", "-in", "expired.csr", "-signkey", "expired.key", "-days", "-1", "-extfile", "names")
    openssl(folder, "x509", *signing, "-out", "expired.pem")
    return folder


@asynccontextmanager
async def serving(certificates, name):
    """The port of a service that speaks TLS with certificate `name`, or plain HTTP where that is None."""
    context = None
    if name is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates / f"{name}.pem", certificates / f"{name}.key")
    application = web.Application()
    application.router.add_post("/rag", answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def answer(request):
    return web.json_response({"result": (await request.json())["query"]})


async def asked(url, ca_file=None):
    """Why the service cannot be asked, and the row of a request."""
    async with connect(Target(url, 5.0, ca_file=ca_file and str(ca_file))) as client:
        row = await client.ask(client.prepare(Request(1, 0.0, Question("q", "Why?"))), lambda: 0.0)
        try:
            await client.check()
        except ServiceError as error:
            return str(error), row
    return None, row


async def test_a_certificate_that_is_named_is_trusted(certificates):
    async with serving(certificates, "good") as port:
        why, row = await asked(f"https://127.0.0.1:{port}", certificates / "good.pem")
    assert (why, row.status, row.result) == (None, "ok", "Why?")


@pytest.mark.parametrize(
    ("name", "is_named", "words"),
    [
        ("good", False, "it is self-signed; where that is meant, name it with --ca-file"),
        ("name", True, "it is for another"),
        ("address", True, "it is for another IP address"),
        ("expired", True, "it has expired"),
    ],
)
async def test_a_certificate_that_is_refused_says_why(certificates, name, is_named, words):
    async with serving(certificates, name) as port:
        url = f"https://127.0.0.1:{port}"
        why, row = await asked(url, certificates / f"{name}.pem" if is_named else None)
    assert why.startswith(f"no TLS connection to {url}: its certificate is refused: {words}")
    assert row.status == "connection_error"
    assert words in row.error


async def test_a_certificate_for_another_name_says_so(certificates):
    async with serving(certificates, "name") as port:
        why, _ = await asked(f"https://localhost:{port}", certificates / "name.pem")
    assert "it is for another host name" in why


async def test_plain_http_where_tls_was_wanted(certificates):
    async with serving(certificates, None) as port:
        why, row = await asked(f"https://127.0.0.1:{port}")
    assert (
        why == f"no TLS connection to https://127.0.0.1:{port}: what answers does not speak TLS; write http:// if "
        "that is meant"
    )
    assert row.status == "connection_error"


async def test_tls_where_plain_http_was_wanted(certificates):
    async with serving(certificates, "good") as port:
        why, row = await asked(f"http://127.0.0.1:{port}")
    assert why == f"what answers at http://127.0.0.1:{port} speaks TLS: write https://"
    assert row.status == "reset"


@pytest.mark.slow
async def test_a_load_takes_the_certificate_by_option_in_every_process(certificates, tmp_path):
    async with serving(certificates, "good") as port:
        load = ("load", "--url", f"https://127.0.0.1:{port}", "--rate", "50", "--requests", "20", "--processes", "2")
        load += ("--questions", write_questions(tmp_path), "--out", tmp_path / "out")
        done = await asyncio.to_thread(ragbench, *load, "--ca-file", certificates / "good.pem")
        refused = await asyncio.to_thread(ragbench, *load)
    manifest = json.loads((tmp_path / "out" / "service-poisson-50rps-seed1" / "manifest.json").read_text())
    assert manifest["summary"]["completed"] == 20, done.stderr
    assert refused.returncode == 1
    assert "it is self-signed" in refused.stderr
