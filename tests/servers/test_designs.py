"""The contract of every design, each as a real process over HTTP. A new design is tested the day its file lands."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

import servers
from ragbench.processes import launch
from servers.__main__ import DESIGNS, design_module, main
from tests.servers.running import QUESTION, SMALL, running

FLEET = ["--base-port", "18200", "--min-replicas", "1", "--max-replicas", "1"]
EXTRA = {"scaled": FLEET}


def test_the_table_lists_every_module_that_creates_a_design() -> None:
    folder = Path(next(iter(servers.__path__)))
    texts = {path.stem: path.read_text() for path in folder.glob("*.py")}
    assert {name for name, text in texts.items() if "\ndef create(settings" in text} == set(DESIGNS)


@pytest.mark.parametrize("design", DESIGNS)
async def test_answers_on_the_wire_and_stops_clean(design: str, tmp_path: Path) -> None:
    async with running(tmp_path, design, *EXTRA.get(design, [])) as (server, client):
        answer = await client.post("/rag", json=QUESTION, headers={"X-Request-Id": "mine"})
        assert answer.status_code == 200
        body = answer.json()
        assert "hummingbirds" in body["result"]
        assert set(body) == {"query", "result", "documents", "model", "usage"}
        assert (body["query"], body["model"], len(body["documents"])) == (QUESTION["query"], "tiny", 2)
        assert body["usage"]["prompt_tokens"] > 0
        stages = [entry.strip().split(";dur=") for entry in answer.headers["Server-Timing"].split(",")]
        assert [name for name, _ in stages] == ["queue", "embed", "retrieve", "generate"]
        assert all(float(milliseconds) >= 0 for _, milliseconds in stages)
        assert answer.headers["X-Batch-Size"] == "1"
        assert answer.headers["X-Replica"]
        assert answer.headers["X-Request-Id"] == "mine"
        await bad_input_is_refused(client)
        await it_describes_itself(client, design)
        await many_at_once_get_their_own_answers(client)
    assert server.failure() == "the server exited with code 0"
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.url}/health")


async def bad_input_is_refused(client: httpx.AsyncClient) -> None:
    cases = [
        ({"query": ""}, 422, "query"),
        ({"query": "x", "k": 501}, 422, "k"),
        ({"query": "x", "k": 51}, 422, "k"),
        ({"query": "x", "max_new_tokens": 17}, 422, "max_new_tokens"),
        ({"query": "x" * 1_000_000}, 413, "body"),
    ]
    for body, status, field in cases:
        answer = await client.post("/rag", json=body)
        assert (answer.status_code, field in answer.text) == (status, True), body.keys()
        assert "detail" in answer.json()
    answer = await client.post("/rag", content=b"{nope", headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert (await client.get("/nowhere")).status_code == 404
    assert (await client.get("/rag")).status_code == 405


async def it_describes_itself(client: httpx.AsyncClient, design: str) -> None:
    info = (await client.get("/info")).json()
    assert info["design"] == design
    assert info["corpus"]["size"] == 500
    assert len(info["corpus"]["checksum"]) == 16
    assert info["device"] == "cpu"
    assert (await client.get("/health")).status_code == 200
    assert (await client.get("/ready")).status_code == 200
    assert 'rag_requests_total{status="200"}' in (await client.get("/metrics")).text


async def many_at_once_get_their_own_answers(client: httpx.AsyncClient) -> None:
    queries = [f"Which animals can {verb}?" for verb in ("make honey", "spin webs", "build dams", "spit venom")] * 6
    expected = ["bees", "spiders", "beavers", "cobras"] * 6
    answers = await asyncio.gather(*(client.post("/rag", json={"query": query, "k": 1}) for query in queries))
    assert [answer.json()["query"] for answer in answers] == queries
    texts = [answer.json()["documents"][0]["text"] for answer in answers]
    assert [word in text for word, text in zip(expected, texts, strict=True)] == [True] * 24


@pytest.mark.slow
@pytest.mark.parametrize("design", DESIGNS)
async def test_sigterm_finishes_what_was_accepted(design: str, tmp_path: Path) -> None:
    async with running(tmp_path, design, *EXTRA.get(design, [])) as (server, client):
        asked = [asyncio.create_task(client.post("/rag", json=QUESTION)) for _ in range(20)]
        while "rag_requests_total" not in (await client.get("/metrics")).text:
            await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        started_s = time.monotonic()
        os.kill(server.pid, signal.SIGTERM)
        answers = await asyncio.gather(*asked)
        await server.ended()
        assert time.monotonic() - started_s < 10
    assert {answer.status_code for answer in answers} <= {200, 503}
    assert answers[0].status_code == 200
    assert server.failure() == "the server exited with code 0"


@pytest.mark.slow
async def test_who_is_not_answered_within_the_drain_time_is_told_503(tmp_path: Path) -> None:
    flags = ["--policy", "size_or_age", "--max-wait-s", "50", "--drain-s", "1"]
    async with running(tmp_path, "batched", *flags) as (server, client):
        asked = [asyncio.create_task(client.post("/rag", json=QUESTION)) for _ in range(5)]
        while "rag_queue_depth 5.0" not in (await client.get("/metrics")).text:
            await asyncio.sleep(0.05)
        os.kill(server.pid, signal.SIGTERM)
        answers = await asyncio.gather(*asked)
        assert [(answer.status_code, answer.headers["Retry-After"]) for answer in answers] == [(503, "1")] * 5
        assert answers[0].json() == {"detail": "the server stopped before the answer was ready"}
        await server.ended()
        assert "Traceback" not in server.new_log()


@pytest.mark.slow
async def test_batched_batches_refuses_when_full_and_survives_a_failing_batch(tmp_path: Path) -> None:
    flags = ["--max-batch-size", "8", "--policy", "size_or_age", "--max-wait-s", "0.4", "--max-queue", "12"]
    async with running(tmp_path, "batched", *flags) as (_, client):
        answers = await asyncio.gather(*(client.post("/rag", json=QUESTION) for _ in range(60)))
        served = [answer for answer in answers if answer.status_code == 200]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert len(served) + len(refused) == 60
        assert refused
        assert {answer.json()["result"] for answer in served} == {"hummingbirds"}
        assert max(int(answer.headers["X-Batch-Size"]) for answer in served) == 8
        assert {answer.headers["X-Batch-Close"] for answer in served} <= {"full", "max_wait"}
        assert all(int(answer.headers["Retry-After"]) >= 1 for answer in refused)
        assert 'rag_batches_total{reason="full"}' in (await client.get("/metrics")).text


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (
            ["baseline", "--profile", "huge"],
            "baseline: profile must be one of tiny, opt-125m, qwen2.5-1.5b, stub, got 'huge'",
        ),
        (
            ["batched", "--policy", "x"],
            "batched: policy must be one of late_binding, ",
        ),
        (["scaled", "--routing", "x"], "scaled: routing must be one of round_robin"),
        (["scaled", "--max-replicas", "1"], "scaled: max_replicas must be >= 1 and >= min_replicas (2), got 1"),
        (["no_such_design"], "unknown design 'no_such_design'"),
        (["baseline", "--backend", "x"], "baseline: backend must be one of static, continuous, openai"),
        (["baseline", "--backend", "openai"], "baseline: openai_url: --backend openai wants it, as in http://"),
    ],
)
def test_a_mistake_in_the_settings_is_one_clear_line(
    flags: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(flags) == 2
    assert capsys.readouterr().err.startswith(line)


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["baseline", "--max-new-tokens", "5000"], "baseline: --max-new-tokens must be < 1024"),
        pytest.param(
            ["baseline", "--corpus", "jsonl"],
            "baseline: the jsonl corpus needs --corpus-path FILE",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["baseline", "--device", "cuda"],
            "baseline: --device cuda: torch sees no CUDA device",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["batched", "--backend", "openai", "--openai-url", "http://127.0.0.1:1/v1"],
            "batched: no OpenAI-compatible server at http://127.0.0.1:1/v1",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["baseline", "--generator", "no/such"],
            "baseline: generator 'no/such' could not be loaded",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_mistake_that_the_engine_finds_is_one_clear_line(flags: list[str], line: str) -> None:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "servers", *flags, *SMALL, "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert done.returncode in (1, 2)
    assert line in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
async def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    async with running(tmp_path, "baseline") as (server, _):
        port = server.url.rsplit(":", 1)[1]
        command = [sys.executable, "-m", "servers", "baseline", "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 75
    assert f"baseline: cannot listen on 127.0.0.1:{port}: Address already in use" in done.stderr


def test_list_prints_every_design_with_its_defaults() -> None:
    done = subprocess.run([sys.executable, "-m", "servers", "--list"], capture_output=True, text=True, check=True)
    for name in DESIGNS:
        assert f"\n{name}: " in "\n" + done.stdout
        for field in design_module(name).SETTINGS.model_fields:
            assert f"--{field.replace('_', '-')}" in done.stdout


@pytest.mark.slow
async def test_ctrl_c_while_loading_stops_at_once(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "servers", "baseline", "--port", "0", *SMALL), stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    await process.stderr.readuntil(b"loading")
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(10):
        await process.stderr.read()
        assert await process.wait() == 0


def test_launcher_and_servers_agree_on_the_ready_line() -> None:
    assert launch.ready_address(b'{"ready": true, "port": 40213, "pid": 977}') == "127.0.0.1:40213"
