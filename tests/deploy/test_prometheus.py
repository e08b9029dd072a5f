"""deploy/prometheus with the real programs: the rules do what they say, and a scraped fleet tells what it was sent."""

import asyncio
import re
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.needs import need
from tests.servers.running import QUESTION, running

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"
STUB = ["--profile", "stub"]
FLEET = [*STUB, "--base-port", "18800", "--min-replicas", "2", "--max-replicas", "2"]


def promtool(*argv: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    need("promtool")
    return subprocess.run(
        ["promtool", *argv], cwd=FOLDER, input=given, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    "argv",
    [("check", "config", "prometheus.yml"), ("check", "rules", "rules.yml"), ("test", "rules", "rules_test.yml")],
)
def test_promtool_accepts(argv: tuple[str, ...]) -> None:
    done = promtool(*argv)
    assert (done.returncode, "FAILED" in done.stdout) == (0, False), done.stdout + done.stderr


def test_every_rule_and_alert_is_tested_and_described() -> None:
    names = re.findall(r"- (?:alert|record): (\S+)", (FOLDER / "rules.yml").read_text())
    assert len(names) == 18
    for page in ("rules_test.yml", "README.md"):
        text = (FOLDER / page).read_text()
        assert [name for name in names if name not in text] == [], page


@pytest.mark.parametrize(("design", "flags"), [("batched", STUB), ("scaled", FLEET)])
async def test_the_metrics_of_a_server_are_clean(design: str, flags: list[str], tmp_path: Path) -> None:
    need("promtool")
    async with running(tmp_path, design, *flags) as (_, client):
        assert (await client.post("/rag", json=QUESTION)).status_code == 200
        exposition = (await client.get("/metrics")).text
    assert "rag_batch_size_sum 1.0" in exposition
    done = await asyncio.to_thread(promtool, "check", "metrics", given=exposition)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.slow
async def test_prometheus_scrapes_a_fleet_and_counts_what_it_was_sent(tmp_path: Path) -> None:
    need("prometheus")
    async with running(tmp_path, "scaled", *FLEET) as (server, client):
        answers = await asyncio.gather(*(client.post("/rag", json=QUESTION) for _ in range(37)))
        assert {answer.status_code for answer in answers} == {200}
        async with prometheus(tmp_path, target=server.url.removeprefix("http://")) as asked:
            assert await until(asked, "sum(rag_requests_total)", 37.0)
            assert await until(asked, "sum(rag_batch_size_sum)", 37.0)
            assert await until(asked, 'rag_replicas{state="ready"}', 2.0)
            assert await until(asked, "count(job:rag_requests:rate1m)", 1.0)
            groups = (await asked.get("/api/v1/rules")).json()["data"]["groups"]
            assert {rule["health"] for group in groups for rule in group["rules"]} == {"ok"}
            assert (await asked.get("/api/v1/alerts")).json()["data"]["alerts"] == []


@asynccontextmanager
async def prometheus(folder: Path, *, target: str) -> AsyncIterator[httpx.AsyncClient]:
    """One that runs with our configuration, a second between scrapes and another target; a client of its API."""
    config = (FOLDER / "prometheus.yml").read_text().replace("localhost:9000", target).replace(": 5s", ": 1s")
    assert target in config
    (folder / "prometheus.yml").write_text(config)
    (folder / "rules.yml").write_text((FOLDER / "rules.yml").read_text())
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    argv = ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address={address}"]
    with (folder / "prometheus.log").open("w") as log:
        process = await asyncio.create_subprocess_exec(*argv, cwd=folder, stdout=log, stderr=log)
    try:
        async with httpx.AsyncClient(base_url=f"http://{address}", timeout=5.0) as asked:
            yield asked
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 20)


async def until(asked: httpx.AsyncClient, query: str, value: float, *, within_s: float = 30.0) -> bool:
    """Whether the query's one answer becomes that value in time."""
    found: list[float] = []
    try:
        async with asyncio.timeout(within_s):
            while found != [value]:
                await asyncio.sleep(0.2)
                try:
                    answer = (await asked.get("/api/v1/query", params={"query": query})).json()
                except httpx.TransportError:
                    continue
                found = [float(series["value"][1]) for series in answer.get("data", {}).get("result", [])]
    except TimeoutError:
        pytest.fail(f"{query} was {found} after {within_s:g} s, wanted {value}")
    return True
