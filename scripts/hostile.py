"""Honest clients beside an attacker, on loopback: the server's memory over time, and what the honest ones wait.

    python scripts/hostile.py --minutes 10            hostile bytes beside 100 honest requests a second
    python scripts/hostile.py --minutes 2 --pairs 3   and the same number of well-formed requests instead, in turns

The attacker has 50 connections and sends at most 500 requests a second, of the kinds below. Everything ends by itself.
"""

import argparse
import asyncio
import itertools
import random
import statistics
import sys
import tempfile
from asyncio.subprocess import DEVNULL
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from ragbench.processes import launch
from ragbench.processes.family import family
from ragbench.processes.interrupts import Interrupted, interruptible, run_until_done

CONNECTIONS = 50
ATTACKS_RPS = 500
HONEST_RPS = 100.0
_PATIENCE_S = 1.0
"""How long the attacker stays on a connection that says nothing, unless it is there to read nothing."""
_PIPELINED = 100
_UNREAD_S = 5.0

BODY = b'{"query": "Which animals can hover in the air?"}'


def post(body: bytes = BODY, *, extra: bytes = b"", path: bytes = b"/rag") -> bytes:
    """A well-formed request."""
    head = b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n"
    return head % (path, len(body), extra) + body


GET = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
_SMUGGLED = b"GET /ready HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Request-Id: smuggled\r\n\r\n"

KINDS: dict[str, Callable[[random.Random], bytes]] = {
    "smuggled": lambda rng: post(_SMUGGLED, extra=b"Connection: Upgrade\r\nUpgrade: h2c\r\n"),
    "pipelined, never read": lambda rng: GET * _PIPELINED,
    "half a head": lambda rng: b"POST /rag HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Le",
    "half a body": lambda rng: post()[:-10],
    "a large head": lambda rng: b"GET /health HTTP/1.1\r\n" + b"X-Filler: " + b"x" * 40_000 + b"\r\n\r\n",
    "a large body": lambda rng: post(b"x" * 300_000),
    "two lengths": lambda rng: post(extra=b"Content-Length: 3\r\n"),
    "chunks and a length": lambda rng: post(extra=b"Transfer-Encoding: chunked\r\n"),
    "empty lines": lambda rng: b"\r\n" * 50_000,
    "random bytes": lambda rng: rng.randbytes(4000),
    "no JSON": lambda rng: post(rng.randbytes(2000)),
    "a new id each time": lambda rng: post(extra=b"X-Request-Id: %d\r\n" % rng.getrandbits(64)),
}


async def attack(port: int, until_s: float, turns: "Turns", seed: int, *, is_hostile: bool) -> int:
    """One connection after another, each with one attack, or with one well-formed request. -> requests sent."""
    rng, sent = random.Random(seed), 0
    clock = asyncio.get_running_loop().time
    while clock() < until_s:
        kind = rng.choice(list(KINDS)) if is_hostile else "well-formed"
        data = KINDS[kind](rng) if is_hostile else post()
        is_unread = kind == "pipelined, never read"
        requests = _PIPELINED if is_unread else 1
        await turns.mine(requests)
        sent += requests
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(_UNREAD_S if is_unread else _PATIENCE_S):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                try:
                    writer.write(data)
                    if is_unread:
                        await asyncio.Event().wait()
                    await reader.read(65_536)
                finally:
                    writer.transport.abort()
    return sent


class Turns:
    """Spreads the attacks of all connections over time."""

    def __init__(self, rate_rps: float) -> None:
        self._every_s = 1 / rate_rps
        self._next_s = 0.0

    async def mine(self, requests: int) -> None:
        """Until it is the turn of whoever sends that many."""
        now = asyncio.get_running_loop().time()
        at_s = self._next_s or now
        self._next_s = at_s + requests * self._every_s
        await asyncio.sleep(max(0.0, at_s - now))


async def watch(server: launch.Server, samples: list[tuple[float, float]]) -> None:
    """Once a second: the time, and what all processes of the server hold, in MiB."""
    clock = asyncio.get_running_loop().time
    for number in itertools.count():
        held = 0
        for process in family(server.pid):
            with suppress(psutil.Error):
                held += process.memory_info().rss
        samples.append((float(number), held / 2**20))
        await asyncio.sleep(1.0 - clock() % 1.0)


async def honest(url: str, *, duration_s: float, seed: int, folder: Path) -> pd.DataFrame:
    """What became of the honest requests, which a process of its own sends."""
    command = [
        *(sys.executable, "-m", "ragbench", "load", "--url", url, "--rate", str(HONEST_RPS)),
        "--seed",
        str(seed),
    ]
    process = await asyncio.create_subprocess_exec(
        *command, "--duration-s", str(duration_s), "--out", str(folder), stdout=DEVNULL, stderr=DEVNULL
    )
    await process.wait()
    return await asyncio.to_thread(rows_of, folder)


def rows_of(folder: Path) -> pd.DataFrame:
    """The one point that `ragbench load` has written there."""
    [path] = folder.rglob("requests.csv")
    return pd.read_csv(path)


async def trial(argv: list[str], *, minutes: float, attacks: int | None, seed: int, folder: Path) -> dict[str, float]:
    """A fresh server under both loads; so many well-formed requests where `attacks` are given. -> its figures."""
    server = await launch.start(argv, log=folder / "server.log", ready_timeout_s=120.0)
    samples: list[tuple[float, float]] = []
    try:
        duration_s, port = minutes * 60, int(server.url.rpartition(":")[2])
        until_s = asyncio.get_running_loop().time() + duration_s
        is_hostile, turns = attacks is None, Turns(ATTACKS_RPS if attacks is None else attacks / duration_s)
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(watch(server, samples))
            attackers = [
                tasks.create_task(attack(port, until_s, turns, seed * 1000 + n, is_hostile=is_hostile))
                for n in range(CONNECTIONS)
            ]
            rows = await honest(server.url, duration_s=duration_s, seed=seed, folder=folder / "honest")
            await asyncio.wait(attackers)
            watching.cancel()
        sent = sum(attacker.result() for attacker in attackers)
    finally:
        await server.stop()
    latencies_s = rows.latency_s[rows.status == "ok"]
    settled = [(at, mib) for at, mib in samples if at >= 60.0] or samples
    slope = float(np.polyfit(*zip(*settled, strict=True), 1)[0]) * 60 if len(settled) > 2 else 0.0
    return {
        "honest": len(rows),
        "answered": len(latencies_s),
        "p50_ms": 1000 * float(latencies_s.quantile(0.5)),
        "p99_ms": 1000 * float(latencies_s.quantile(0.99)),
        "attacks": sent,
        "mib_at_first": settled[0][1],
        "mib_at_last": settled[-1][1],
        "mib_most": max(mib for _, mib in samples),
        "mib_per_min": slope,
        "tracebacks": (folder / "server.log").read_text(encoding="utf-8", errors="replace").count("Traceback"),
    }


async def main() -> None:
    """The trials, a line each, and what they come to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--pairs", type=int, default=0, help="hostile and well-formed in turns; 0: hostile once")
    parser.add_argument("--design", default="batched")
    parser.add_argument("--flags", default="--profile stub", help="of the server")
    given = parser.parse_args()
    argv = [sys.executable, "-m", "servers", given.design, "--port", "0", *given.flags.split()]
    kinds = [True] if not given.pairs else [True, False] * given.pairs
    found: dict[bool, list[dict[str, float]]] = {True: [], False: []}
    for number, is_hostile in enumerate(kinds):
        with tempfile.TemporaryDirectory() as folder:
            attacks = None if is_hostile else round(found[True][-1]["attacks"])
            told = await trial(argv, minutes=given.minutes, attacks=attacks, seed=1 + number // 2, folder=Path(folder))
        found[is_hostile].append(told)
        figures = ", ".join(f"{name} {value:.4g}" for name, value in told.items())
        print(f"{'hostile' if is_hostile else 'well-formed'}: {figures}", flush=True)
    if given.pairs:
        hostile, formed = (statistics.median(each["p99_ms"] for each in found[kind]) for kind in (True, False))
        ratio = hostile / formed
        print(f"honest p99, medians of {given.pairs}: {hostile:.1f} and {formed:.1f} ms, a ratio of {ratio:.2f}")


if __name__ == "__main__":
    try:
        with interruptible():
            run_until_done(main())
    except Interrupted as stopped:
        sys.exit(stopped.exit_code)
