"""Each framework as it is measured: started by the harness, asked over HTTP, stopped without a trace."""

import importlib.util
import sys
from pathlib import Path

import httpx
import pytest

from peers.__main__ import PEERS, main
from ragbench.processes import launch
from tests.needs import need

NEEDS = {"litserve": "litserve", "mosec": "mosec", "ray": "ray"}


def command(name: str, *flags: str) -> list[str]:
    return [sys.executable, "-m", "peers", name, "--port", "0", *flags]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "ray" else ()) for name in PEERS]
)
async def test_it_answers_batches_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
        pytest.skip(f"{NEEDS[name]} is not installed")
    if name == "haproxy":
        need("haproxy")
    flags = ("--profile", "stub", "--max-batch-size", "4", "--max-wait-s", "0.005")
    server = await launch.start(command(name, *flags), log=tmp_path / "log", ready_timeout_s=120.0)
    try:
        async with httpx.AsyncClient(base_url=server.url, timeout=30.0) as client:
            asked = [f"question {n}" for n in range(12)]
            told = [(await client.post("/rag", json={"query": query})).json() for query in asked]
        assert [answer["result"] for answer in told] == (["an echo"] * 12 if name == "echo" else asked)
        names = ["query", "result", "documents", "usage"]
        assert {tuple(answer) for answer in told} == {
            (*names[:3], "model", "usage") if name == "haproxy" else (*names,)
        }
    finally:
        left = await server.stop()
    assert not left, f"processes left behind: {left}"


def test_an_unknown_name_or_setting_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nobody"]) == 2
    assert "unknown peer 'nobody'" in capsys.readouterr().err
    assert main(["echo", "--max-batch-size", "0"]) == 2
    assert "max_batch_size" in capsys.readouterr().err
    assert main(["echo", "--profile", "huge"]) == 2
    assert "echo: profile must be one of tiny, opt-125m" in capsys.readouterr().err
