"""The fleet under test, as an operator sees it: its command, its processes, its public routes. Breaks nothing."""

import asyncio
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from ragbench.files.text_file import parse_reported
from ragbench.load.client import MOST_REPORT, read_body
from ragbench.processes.child import HURRIED_GRACE_S
from ragbench.processes.launch import Server, start

READY_TIMEOUT_S = 120.0
LONGEST_EJECTION_S = 10.0
_GRACE_S = 15.0
_SETTLE_S = 2.0
_DECISION_S = 2.0  # for the third heartbeat, and for the next scaling decision
_LOOK_S = 0.05
_RETRIES = re.compile(r"^rag_retries_total(?:\{[^}]*\})? ([0-9.e+]+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Replica:
    """One entry of `GET /replicas`. A registered one has no `pid`."""

    url: str
    pid: int | None
    state: str
    outstanding: int
    ejected: bool = False

    @property
    def is_asked(self) -> bool:
        """Whether the fleet sends it requests."""
        return self.state == "ready" and not self.ejected


@dataclass(frozen=True, slots=True)
class Footprint:
    """What the processes of a fleet hold together at one moment."""

    t_s: float
    memory_mib: float
    descriptors: int


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

    def footprint(self, t_s: float) -> Footprint:
        """What its processes hold now, which is `t_s`; those that are gone hold nothing."""
        memory_bytes, descriptors = 0, 0
        for process in self.members:
            with suppress(psutil.Error):
                memory_bytes += process.memory_info().rss
                descriptors += process.num_fds()
        return Footprint(t_s, memory_bytes / 2**20, descriptors)

    def failure(self) -> str | None:
        """Why its own process no longer runs; None while it does."""
        return self._server.failure()

    def log_end(self) -> str:
        """The last lines of its log, as the end of a message."""
        return self._server.log_end()

    async def replicas(self, state: str | None = None) -> list[Replica]:
        """Those in that state, or all; none where the fleet does not report them."""
        entries = await self._reported("/replicas", "replicas")
        every = [
            Replica(each["url"], each.get("pid"), each["state"], each["outstanding"], each.get("ejected", False))
            for each in entries
        ]
        return [replica for replica in every if state in (None, replica.state)]

    async def longest_start_s(self) -> float | None:
        """The longest that a replica took from its start until it was ready; None where none is reported."""
        starts = await self._reported("/scaling", "starts")
        return max((float(start["start_s"]) for start in starts), default=None)

    async def retries(self) -> int | None:
        """`rag_retries_total` now, over all labels; None where the fleet does not report it."""
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

    async def _reported(self, path: str, name: str) -> list[dict[str, Any]]:
        report = await _fetch(f"{self.url}{path}")
        return report.get(name, []) if isinstance(report, dict) else []


async def launch(argv: Sequence[str], folder: Path) -> Fleet:
    """Start `argv` on any free port. Raises ChildError; by then nothing of it is left."""
    return Fleet(argv, folder, await _start(argv, "0", folder / "server.log"))


@dataclass(frozen=True, slots=True)
class Replacement:
    """How soon a fleet left a bad replica alone, and had another in its place.

    `ejected_s`: from the fault until the replica gets no more requests; None: it still does. `successor_s`: from then
    until as many are ready as before; None: they are not. `start_s`: the longest start of a replica of this fleet so
    far, by its own report.
    """

    ejected_s: float | None = None
    successor_s: float | None = None
    start_s: float | None = None
    needs_successor: bool = True

    @property
    def figures(self) -> dict[str, float | None]:
        """For the scenario's row."""
        successor = {"successor_s": self.successor_s, "start_s": self.start_s} if self.needs_successor else {}
        return {"ejected_s": self.ejected_s, **successor}

    @property
    def failures(self) -> list[str]:
        """What took too long."""
        lines = []
        if self.ejected_s is None or self.ejected_s > LONGEST_EJECTION_S:
            lines.append(f"the bad replica was not ejected within {LONGEST_EJECTION_S:g} s")
        limit_s = (self.start_s or 0.0) + _DECISION_S
        if self.needs_successor and (self.successor_s is None or self.successor_s > limit_s):
            lines.append(f"its successor was not ready within {limit_s:.1f} s")
        return lines


async def watch_replacement(
    fleet: Fleet, victim: Replica, *, before: int, limit_s: float, needs_successor: bool = True
) -> Replacement:
    """Look at the fleet's own report from now on, when the fault strikes, for at most `limit_s`.

    `before`: how many replicas were ready until then.
    """
    began_s = time.monotonic()
    ejected_s: float | None = None
    successor_s: float | None = None
    while (now_s := time.monotonic() - began_s) < limit_s:
        asked = [replica for replica in await fleet.replicas() if replica.is_asked]
        others = [replica for replica in asked if (replica.url, replica.pid) != (victim.url, victim.pid)]
        if ejected_s is None and len(others) == len(asked):
            ejected_s = now_s
        if ejected_s is not None and not needs_successor:
            break
        if ejected_s is not None and len(others) >= before:
            successor_s = now_s - ejected_s
            break
        await asyncio.sleep(_LOOK_S)
    return Replacement(ejected_s, successor_s, await fleet.longest_start_s(), needs_successor)


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
            body = await read_body(answer, most=MOST_REPORT)
            return parse_reported(body) if answer.content_type == "application/json" else body.decode(errors="replace")
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
        return None
