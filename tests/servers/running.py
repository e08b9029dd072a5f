"""Real servers for end-to-end tests: started by the harness' own launcher, spoken to over HTTP, stopped whole."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from ragbench.processes import launch

QUESTION = {"query": "Which animals can hover in the air?"}
SMALL = ["--corpus-size", "500"]


@asynccontextmanager
async def running(folder: Path, design: str, *flags: str) -> AsyncIterator[tuple[launch.Server, httpx.AsyncClient]]:
    """`python -m servers DESIGN --port 0` on a small corpus, and a client whose base is its address."""
    argv = [
        sys.executable,
        "-m",
        "servers",
        design,
        "--port",
        "0",
        *SMALL,
        "--cache-dir",
        str(folder / "cache"),
        *flags,
    ]
    server = await launch.start(argv, log=folder / f"{design}.log", ready_timeout_s=120.0)
    try:
        async with httpx.AsyncClient(base_url=server.url, timeout=30.0) as client:
            yield server, client
    finally:
        left = await server.stop()
        assert not left, f"processes left behind: {left}"


def is_alive(pid: int) -> bool:
    """Whether a process of that id runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
