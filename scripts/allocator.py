"""What it brings that a process which runs a model keeps the memory it frees: CPU, throughput and memory, by server.

    python scripts/allocator.py --turns 3               each server with both, in turns: CPU us a request, requests/s
    python scripts/allocator.py --turns 0 --minutes 60  all at once under a light mixed load: memory over an hour

`kept` is as servers come (servers/rag/allocator.py); `returned` is glibc's default. Both tables go to
`--out`, a folder. Everything is on loopback and ends by itself.
"""

import argparse
import asyncio
import os
import random
import statistics
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, fields
from itertools import pairwise
from pathlib import Path

import aiohttp
import psutil

from ragbench.files.csv_table import write_table
from ragbench.processes import launch
from ragbench.processes.interrupts import Interrupted, interruptible, run_until_done

SERVERS = {
    "batched": "servers batched --max-batch-size 32",
    "litserve": "peers litserve --max-batch-size 32 --max-wait-s 0.01",
    "mosec": "peers mosec --max-batch-size 32 --max-wait-s 0.002",
    "ray": "peers ray --max-batch-size 64 --max-wait-s 0.01",
    "fastapi": "peers fastapi",
}
MEMORY = ("kept", "returned")
USERS = 64
WARM_UP_S, MEASURED_S = 3.0, 6.0
MIXED_RPS = 3.0
_DEFAULT = "glibc.malloc.perturb=0"  # a tunable with its default: any leaves the allocator alone
_WORDS = ("which", "animals", "can", "hover", "in", "the", "air", "what", "is", "largest", "planet", "sun")
_FIRST_MINUTES = 2.0


@dataclass(frozen=True, slots=True)
class Speed:
    """One turn. `user_us` and `kernel_us` are CPU a request of all its processes."""

    server: str
    memory: str
    turn: int
    answered_rps: float
    user_us: float
    kernel_us: float


@dataclass(frozen=True, slots=True)
class Size:
    """Memory of all its processes, in MiB, shared pages counted once, `minutes` after the load began."""

    server: str
    memory: str
    minutes: float
    mib: float
    answered: int


async def started(name: str, memory: str, folder: Path) -> launch.Server:
    """Start one server with that allocator."""
    os.environ.pop("GLIBC_TUNABLES", None)
    if memory == "returned":
        os.environ["GLIBC_TUNABLES"] = _DEFAULT
    try:
        argv = ["python", "-m", *SERVERS[name].split(), "--port", "0"]
        return await launch.start(argv, log=folder / f"{name}-{memory}.log", ready_timeout_s=180.0)
    finally:
        os.environ.pop("GLIBC_TUNABLES", None)


def question(rng: random.Random) -> dict[str, object]:
    """A question of 3 to 120 words that asks for 1 to 8 documents."""
    words = rng.choices(_WORDS, k=rng.choice((3, 8, 8, 20, 120)))
    return {"query": " ".join(words), "k": rng.choice((1, 2, 2, 4, 8))}


async def ask(session: aiohttp.ClientSession, url: str, rng: random.Random, counted: list[int]) -> None:
    """Ask once; `counted` is 200s and others."""
    try:
        async with session.post(url, json=question(rng)) as answer:
            await answer.read()
            counted[answer.status != 200] += 1
    except aiohttp.ClientError:
        counted[1] += 1


def cpu_s(members: set[psutil.Process]) -> tuple[float, float]:
    """User and kernel time of these processes."""
    user = kernel = 0.0
    for process in members:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            user, kernel = user + times.user, kernel + times.system
    return user, kernel


def mib(members: set[psutil.Process]) -> float:
    """Their memory, of which shared pages are counted once."""
    total = 0
    for process in members:
        with suppress(psutil.NoSuchProcess):
            total += process.memory_full_info().pss
    return total / 2**20


async def closed_loop(url: str, until: asyncio.Event, counted: list[int], *, users: int) -> None:
    """So many users who ask again at once."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def user(seed: int) -> None:
            rng = random.Random(seed)
            while not until.is_set():
                await ask(session, url, rng, counted)

        await asyncio.gather(*(user(seed) for seed in range(users)))


async def speed(name: str, memory: str, turn: int, folder: Path) -> Speed:
    """Start a server, load it, and end it."""
    server = await started(name, memory, folder)
    try:
        until, counted = asyncio.Event(), [0, 0]
        load = asyncio.create_task(closed_loop(server.url + "/rag", until, counted, users=USERS))
        await asyncio.sleep(WARM_UP_S)
        members = server.members
        before, answered = cpu_s(members), counted[0]
        began_s = asyncio.get_running_loop().time()
        await asyncio.sleep(MEASURED_S)
        seconds = asyncio.get_running_loop().time() - began_s
        after, answered = cpu_s(members), counted[0] - answered
        until.set()
        await load
    finally:
        await server.stop()
    user_us, kernel_us = ((end - start) / max(answered, 1) * 1e6 for start, end in zip(before, after, strict=True))
    return Speed(name, memory, turn, answered / seconds, user_us, kernel_us)


async def mixed(url: str, until_s: float, counted: list[int], seed: int) -> None:
    """Bursts of 1 to 64 questions, `MIXED_RPS` a second on average."""
    rng, now = random.Random(seed), asyncio.get_running_loop().time
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        while now() < until_s:
            burst = rng.choice((1, 1, 2, 4, 8, 16, 32, 64))
            next_s = now() + burst / MIXED_RPS
            await asyncio.gather(*(ask(session, url, rng, counted) for _ in range(burst)))
            await asyncio.sleep(max(0.0, next_s - now()))


async def sizes(name: str, memory: str, minutes: float, server: launch.Server, found: list[Size]) -> None:
    """Load one server for so long, look at its memory every five minutes, and end it."""
    try:
        now = asyncio.get_running_loop().time
        began_s, counted = now(), [0, 0]
        until_s = began_s + 60 * minutes
        load = asyncio.create_task(mixed(server.url + "/rag", until_s, counted, seed=1))
        looks = [0.0, _FIRST_MINUTES, *(5.0 * look for look in range(1, int(minutes // 5) + 1)), minutes]
        for before, look in pairwise(sorted({each for each in looks if each <= minutes})):
            await asyncio.sleep(max(0.0, began_s + 60 * look - now() - (1.0 if look == minutes else 0.0)))
            assert look > before
            held = await asyncio.to_thread(lambda: mib(server.members))
            found.append(Size(name, memory, look, held, counted[0]))
            print(
                f"{name} {memory}: {found[-1].mib:.0f} MiB after {look:g} min, {counted[0]} answered, {counted[1]} not",
                flush=True,
            )
        await load
    finally:
        await server.stop()


def write(path: Path, kind: type, rows: Sequence[Speed] | Sequence[Size]) -> None:
    """A table with the fields of `kind` as its columns."""
    path.write_text(write_table([field.name for field in fields(kind)], map(astuple, rows)), encoding="utf-8")


async def main(args: argparse.Namespace) -> None:
    """Both tables."""
    args.out.mkdir(parents=True, exist_ok=True)
    names = args.servers or list(SERVERS)
    speeds = []
    for turn in range(args.turns):
        for name in names:
            for memory in MEMORY if turn % 2 == 0 else MEMORY[::-1]:
                speeds.append(await speed(name, memory, turn, args.out))
                print(speeds[-1], flush=True)
    if speeds:
        write(args.out / "speed.csv", Speed, speeds)
        for name in names:
            for memory in MEMORY:
                of = [each for each in speeds if (each.server, each.memory) == (name, memory)]
                middle = [
                    statistics.median(getattr(each, field) for each in of)
                    for field in ("answered_rps", "user_us", "kernel_us")
                ]
                print(f"{name} {memory}: {middle[0]:.0f}/s, user {middle[1]:.0f}, kernel {middle[2]:.0f} us a request")
    if args.minutes:
        found: list[Size] = []
        async with asyncio.TaskGroup() as together:
            for name in names:
                for memory in MEMORY:
                    server = await started(name, memory, args.out)
                    together.create_task(sizes(name, memory, args.minutes, server, found))
        write(args.out / "memory.csv", Size, sorted(found, key=lambda size: (size.server, size.memory, size.minutes)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3, help="starts of each server; 0: no table of speed")
    parser.add_argument("--minutes", type=float, default=0.0, help="of mixed load; 0: no table of memory")
    parser.add_argument("--servers", nargs="*", choices=SERVERS, help="all unless named")
    parser.add_argument("--out", type=Path, default=Path("results/allocator"), help="folder of both tables")
    try:
        with interruptible():
            run_until_done(main(parser.parse_args()))
    except Interrupted as stopped:
        sys.exit(stopped.exit_code)
