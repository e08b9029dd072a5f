"""The fleet under test, as an operator sees it: its command, its processes, its public routes. Breaks nothing."""

import asyncio
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from ragbench.files.text_file import parse_told
from ragbench.load.body import MOST_TOLD, read_body
from ragbench.processes.child import HURRIED_GRACE_S
from ragbench.processes.launch import Server, start

READY_TIMEOUT_S = 120.0
_GRACE_S = 15.0
_SETTLE_S = 2.0
_RETRIES = re.compile(r"^rag_retries_total(?:\{[^}]*\})? ([0-9.e+]+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Replica:
    """One entry of `GET /replicas`. A registered one tells no `pid`."""

    url: str
    pid: int | None
    state: str
    outstanding: int
    ejected: bool = False

    @property
    def is_asked(self) -> bool:
        """Whether the fleet sends it requests."""
        return self.state == "ready" and not self.ejected


class Fleet:
    """A running fleet; `folder` gets its logs. Made by `launch`."""

    def __init__(self, argv: Sequence[str], folder: Path, server: Server) -> None:
        self.url = server.url
        self._argv = argv
        self._folder = folder
        self._server = server
        self._starts = 1

    @property
    def members(self) -> set[psutil.Process]:
        """Its processes now."""
        return self._server.members

    def failure(self) -> str | None:
        """Why its own process no longer runs; None while it does."""
        return self._server.failure()

    def log_end(self) -> str:
        """The last lines of its log, as the end of a message."""
        return self._server.log_end()

    async def replicas(self, state: str | None = None) -> list[Replica]:
        """Those in that state, or all; none where the fleet does not tell."""
        told = await _fetch(f"{self.url}/replicas")
        entries = told.get("replicas", []) if isinstance(told, dict) else []
        every = [
            Replica(it["url"], it.get("pid"), it["state"], it["outstanding"], it.get("ejected", False))
            for it in entries
        ]
        return [replica for replica in every if state in (None, replica.state)]

    async def longest_start_s(self) -> float | None:
        """The longest that a replica took from its start until it was ready; None where the fleet does not tell."""
        told = await _fetch(f"{self.url}/scaling")
        starts = told.get("starts", []) if isinstance(told, dict) else []
        return max((float(start["start_s"]) for start in starts), default=None)

    async def retries(self) -> int | None:
        """`rag_retries_total` now, over all labels; None where the fleet does not tell."""
        text = await _fetch(f"{self.url}/metrics")
        return read_retries(text) if isinstance(text, str) else None

    async def register(self, url: str) -> None:
        """Have the fleet use a replica that it did not start. Raises aiohttp.ClientError where it will not."""
        async with aiohttp.request("POST", f"{self.url}/register", json={"url": url}) as answer:
            answer.raise_for_status()

    async def restart(self) -> None:
        """SIGTERM, and once all of it is gone the same command on the same port."""
        await self._server.stop()
        port = self.url.rpartition(":")[2]
        self._starts += 1
        self._server = await _start(self._argv, port, self._folder / f"server-{self._starts}.log")

    async def stop(self) -> int:
        """SIGTERM to the group that was started; how many of its processes outlived it. They are then killed."""
        self._server.look()
        try:
            await self._server.ask_to_end(_GRACE_S)
            await self._server.all_gone(_SETTLE_S)
        finally:
            orphans = self._server.members
            await self._server.stop(grace_s=HURRIED_GRACE_S)
        return len(orphans)


async def launch(argv: Sequence[str], folder: Path) -> Fleet:
    """Start `argv` on any free port. Raises ChildError; by then nothing of it is left."""
    return Fleet(argv, folder, await _start(argv, "0", folder / "server.log"))


def held_by(members: Iterable[psutil.Process]) -> tuple[float, int]:
    """(memory in MiB, open descriptors) of these processes together; those that are gone hold nothing."""
    memory_bytes, descriptors = 0, 0
    for process in members:
        with suppress(psutil.Error):
            memory_bytes += process.memory_info().rss
            descriptors += process.num_fds()
    return memory_bytes / 2**20, descriptors


def read_retries(text: str) -> int | None:
    """The sum of `rag_retries_total` in a Prometheus exposition; None where the server has no such metric."""
    if "rag_retries" not in text:
        return None
    return round(sum(float(value) for value in _RETRIES.findall(text)))


async def _start(argv: Sequence[str], port: str, log: Path) -> Server:
    return await start([*argv, "--port", port], log=log, ready_timeout_s=READY_TIMEOUT_S)


async def _fetch(url: str) -> Any:
    """JSON or text of a GET; None where it was not answered with 200."""
    try:
        async with asyncio.timeout(5.0), aiohttp.request("GET", url) as answer:
            if answer.status != 200:
                return None
            body = await read_body(answer, most=MOST_TOLD)
            return parse_told(body) if answer.content_type == "application/json" else body.decode(errors="replace")
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
        return None
