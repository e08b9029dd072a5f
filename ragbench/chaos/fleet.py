"""The fleet under test, as an operator sees it: its command, processes, public routes and logs. Breaks nothing."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from ragbench.files.text_file import parse_reported
from ragbench.load.client import MOST_REPORT, read_body
from ragbench.processes.child import HURRIED_GRACE_S
from ragbench.processes.launch import Server, start

READY_TIMEOUT_S = 120.0
_GRACE_S = 15.0
_SETTLE_S = 2.0
_RETRIES = re.compile(r"^rag_retries_total(?:\{[^}]*\})? ([0-9.e+]+)$", re.MULTILINE)
_LONGEST_LINE = 1 << 20  # characters; the parts of a longer line are read as lines of their own


@dataclass(frozen=True, slots=True)
class Replica:
    """One entry of `GET /replicas`. A registered one has no `pid`."""

    url: str
    pid: int | None
    state: str
    outstanding: int
    ejected: bool = False


@dataclass(frozen=True, slots=True)
class Footprint:
    """What the processes of a fleet hold together at one moment."""

    t_s: float
    memory_mib: float
    descriptors: int


@dataclass(slots=True)
class Fleet:
    """A running fleet. `folder` gets its logs; `server` is its own process. Made by `launch`.

    `front`: the URL of a proxy that runs already and sends the requests to the replicas, if one does.
    """

    argv: Sequence[str]
    folder: Path
    server: Server
    front: str | None = None
    _starts: int = 1

    @property
    def url(self) -> str:
        """Of the fleet itself, with the routes about replicas."""
        return self.server.url

    @property
    def service_url(self) -> str:
        """Where questions are asked."""
        return self.front or self.url

    def footprint(self, t_s: float) -> Footprint:
        """What its processes hold now, at `t_s`; processes that have ended hold nothing."""
        memory_bytes, descriptors = 0, 0
        for process in self.server.members:
            with suppress(psutil.Error):
                memory_bytes += process.memory_info().rss
                descriptors += process.num_fds()
        return Footprint(t_s, memory_bytes / 2**20, descriptors)

    async def replicas(self, state: str | None = None) -> list[Replica]:
        """All replicas, or those in `state`; empty where the fleet does not report them."""
        return [
            Replica(entry["url"], entry.get("pid"), entry["state"], entry["outstanding"], entry.get("ejected", False))
            for entry in await self._reported("/replicas", "replicas")
            if state in (None, entry["state"])
        ]

    async def longest_start_s(self) -> float | None:
        """The longest time that a replica took to become ready; None where none is reported."""
        starts = await self._reported("/scaling", "starts")
        return max((float(start["start_s"]) for start in starts), default=None)

    async def retries(self) -> int | None:
        """`rag_retries_total` now, over all labels; None where the fleet does not report it."""
        text = await _fetch(f"{self.url}/metrics")
        return read_retries(text) if isinstance(text, str) else None

    async def register(self, url: str) -> None:
        """Add a replica that the fleet did not start. Raises aiohttp.ClientError where the fleet refuses it."""
        async with aiohttp.request("POST", f"{self.url}/register", json={"url": url}) as answer:
            answer.raise_for_status()

    async def restart(self) -> None:
        """SIGTERM; once all processes have ended, the same command on the same port."""
        port = self.url.rpartition(":")[2]
        await self.server.stop()
        self._starts += 1
        self.server = await _start(self.argv, port, self.folder / f"server-{self._starts}.log")

    async def stop(self) -> int:
        """SIGTERM to the process group. -> how many processes outlived it; they are then killed."""
        self.server.look()
        try:
            await self.server.ask_to_end(_GRACE_S)
            await self.server.all_gone(_SETTLE_S)
        finally:
            orphans = self.server.members
            await self.server.stop(grace_s=HURRIED_GRACE_S)
        return len(orphans)

    async def _reported(self, path: str, name: str) -> list[dict[str, Any]]:
        report = await _fetch(f"{self.url}{path}")
        return report.get(name, []) if isinstance(report, dict) else []


async def launch(argv: Sequence[str], folder: Path, *, front: str | None = None) -> Fleet:
    """Start `argv` on any free port. Raises ChildError, and leaves no process then."""
    return Fleet(argv, folder, await _start(argv, "0", folder / "server.log"), front)


def read_retries(text: str) -> int | None:
    """The sum of `rag_retries_total` in a Prometheus exposition; None where the server has no such metric."""
    if "rag_retries" not in text:
        return None
    return round(sum(float(value) for value in _RETRIES.findall(text)))


def logs_of(folder: Path) -> list[Path]:
    """The logs of a fleet whose results lie in `folder`: its own, which replicas may share, and one a replica."""
    return sorted([*folder.glob("server*.log"), *folder.glob("**/replica-*.log")])


def answered_twice(logs: Iterable[Path]) -> int | None:
    """How many request ids were answered more than once; None where no log has any answer."""
    counts: Counter[str] = Counter()
    for log in logs:
        with log.open(encoding="utf-8", errors="replace") as lines:
            counts.update(answered_ids(iter(partial(lines.readline, _LONGEST_LINE), "")))
    return sum(count > 1 for count in counts.values()) if counts else None


def answered_ids(lines: Iterable[str]) -> Iterator[str]:
    """The request id of each 200 in a replica's access log. The balancer's own lines are left out.

    A line is `{"event": "answered", "status": 200, "request_id": ..., "server": "batched[pid]", ...}`.
    """
    for line in lines:
        with suppress(ValueError, RecursionError):
            entry = json.loads(line)
            if not isinstance(entry, dict) or (entry.get("event"), entry.get("status")) != ("answered", 200):
                continue
            if not str(entry.get("server", "")).startswith("scaled") and isinstance(entry.get("request_id"), str):
                yield entry["request_id"]


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
