"""The load on the machine, once a second: CPU and memory of client and server, CPU of all others, the GPUs.

verdicts.py decides whether the others took too much.
"""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Literal, NamedTuple

import psutil

from ragbench.machine.cgroup import Counters, Quota, smallest_quota
from ragbench.machine.hardware import own_cores
from ragbench.machine.nvml import Gpus
from ragbench.results.records import Sample

Members = Callable[[], set[psutil.Process]]
Whose = Literal["client", "server"]

_FIRST_S, _EVERY_S = 0.5, 1.0
_LEAST_S = 0.25  # the kernel counts CPU in hundredths of a second: a sample over less says little
_REFRESH_S = 3.0  # walking all processes costs milliseconds
_MIB = 2**20
THROTTLED_SHARE = 0.01


async def watch(server: Members | None, clock: Callable[[], float], samples: list[Sample]) -> None:
    """Append a sample every second until cancelled, and then one for the rest. `server` lists its processes.

    The looks are taken on a thread: on the event loop they would delay sends.
    """
    loop, meter = asyncio.get_running_loop(), Meter(server)
    with ThreadPoolExecutor(1, thread_name_prefix="telemetry") as thread:
        await loop.run_in_executor(thread, meter.sample, clock)
        due_s = _FIRST_S
        try:
            while True:
                await asyncio.sleep(max(0.0, due_s - clock()))
                samples.append(await loop.run_in_executor(thread, meter.sample, clock))
                due_s = max(due_s + _EVERY_S, clock())
        finally:
            thread.shutdown()
            if clock() - meter.t_s >= (_LEAST_S if samples else 0.0):
                samples.append(meter.sample(clock))


class _Times(NamedTuple):
    """CPU seconds of a process and of its children that were reaped, and its parent."""

    own_s: float = 0.0
    reaped_s: float = 0.0
    parent: int | None = None


class Account:
    """The CPU that two families of processes use from look to look.

    What a process had used when it ended comes back as its parent's children's time once it is reaped; it was booked
    already, so only the difference is.
    """

    def __init__(self) -> None:
        self._last: dict[psutil.Process, _Times] = {}

    def book(self, families: Mapping[Whose, set[psutil.Process]]) -> dict[Whose, float]:
        """Look at every process. -> CPU seconds since the last look; of a process that is new, all that it has used."""
        looks = {whose: {p: times for p in members if (times := _times(p))} for whose, members in families.items()}
        present = {process: times for look in looks.values() for process, times in look.items()}
        gone = [times for process, times in self._last.items() if process not in present]
        used_s: dict[Whose, float] = dict.fromkeys(families, 0.0)
        for whose, look in looks.items():
            for process, now in look.items():
                before = self._last.get(process, _Times())
                booked_s = sum(times.own_s + times.reaped_s for times in gone if times.parent == process.pid)
                reaped_s = now.reaped_s - before.reaped_s - booked_s
                used_s[whose] += now.own_s - before.own_s + max(0.0, reaped_s)
        self._last = present
        return used_s


class _Look(NamedTuple):
    """Totals at `t_s`: CPU seconds of all programs, and the counters of the quota."""

    t_s: float = 0.0
    busy_s: float = 0.0
    counters: Counters | None = None


class Meter:
    """Makes a sample of two looks; of the first one it is without meaning. `t_s` is the time of the last one."""

    def __init__(self, server: Members | None) -> None:
        self._server = server
        self._self = psutil.Process()
        self._account = Account()
        self._gpus = Gpus.found()
        self._families: dict[Whose, set[psutil.Process]] = {}
        self._refreshed_s = -math.inf
        self._quota = binding_quota()
        self._last = _Look()

    @property
    def t_s(self) -> float:
        """Seconds on the clock of `sample`."""
        return self._last.t_s

    def sample(self, clock: Callable[[], float]) -> Sample:
        """The use since the last look."""
        if (t_s := clock()) - self._refreshed_s >= _REFRESH_S:
            self._find_members(t_s)
        used_s = self._account.book(self._families)
        before, counters = self._last, None if self._quota is None else self._quota.counters()
        self._last = now = _Look(clock(), busy_s(), counters)
        span_s = max(now.t_s - before.t_s, 1e-9)
        used = {whose: seconds / span_s for whose, seconds in used_s.items()}
        other = (now.busy_s - before.busy_s) / span_s - sum(used.values())
        throttled = None
        if self._quota is not None:
            group, throttled = _of_group(before.counters, now.counters, span_s)
            inside = None if group is None else group - sum(used.values())
            other = harmful(other, inside=inside, mask=len(own_cores()), quota=self._quota.cores)
        has_server = self._server is not None
        return Sample(
            t_s=now.t_s,
            client_cpu_cores=used["client"],
            client_memory_mib=_memory_mib(self._families["client"]),
            server_cpu_cores=used["server"] if has_server else None,
            server_memory_mib=_memory_mib(self._families["server"]) if has_server else None,
            other_cpu_cores=max(0.0, other) if now.busy_s > 0.0 else None,  # some sandboxes show no use at all
            throttled_share=throttled,
            **self._gpus.now(),
        )

    def _find_members(self, t_s: float) -> None:
        server = set() if self._server is None else self._server()
        client = {self._self, *self._self.children(recursive=True)} - server
        self._families, self._refreshed_s = {"client": client, "server": server}, t_s


def binding_quota() -> Quota | None:
    """The CPU quota, where it allows less than the cores this process may run on."""
    quota = smallest_quota()
    return quota if quota is not None and quota.cores < len(own_cores()) else None


def harmful(others: float, *, inside: float | None, mask: int, quota: float) -> float:
    """The part of `others`, cores' worth of CPU on the `mask` cores we may run on, that a quota of ours misses.

    Programs `inside` our group take from the quota; those outside only what does not fit on the rest of the cores.
    None: not known, taken as 0.
    """
    inside = max(0.0, inside or 0.0)
    outside = max(0.0, others - inside)
    return inside + max(0.0, outside - (mask - quota))


def throttling(samples: Sequence[Sample]) -> str | None:
    """A line on the CPU quota, where it held up more than THROTTLED_SHARE of its periods in the mean; else None."""
    shares = [sample.throttled_share for sample in samples if sample.throttled_share is not None]
    share = sum(shares) / len(shares) if shares else 0.0
    if share <= THROTTLED_SHARE:
        return None
    return f"the CPU quota was used up in {share:.0%} of its periods: the figures hold the pauses until the next ones"


def _of_group(before: Counters | None, now: Counters | None, span_s: float) -> tuple[float | None, float | None]:
    """Cores' worth of CPU that the group used, and the share of its periods that were throttled; None: not known."""
    if before is None or now is None:
        return None, None
    used = None if before.used_s is None or now.used_s is None else (now.used_s - before.used_s) / span_s
    periods = now.periods - before.periods
    return used, (now.throttled - before.throttled) / periods if periods > 0 else None


def busy_s() -> float:
    """CPU seconds that programs have used so far on the cores this process may run on.

    With what other virtual machines took of them (steal). Without interrupts: the kernel charges those either to the
    program they interrupt too or to nobody, and on loopback they are the load's own.
    """
    cores = own_cores()
    times = [core for number, core in enumerate(psutil.cpu_times(percpu=True)) if number in cores]
    return float(sum(t.user + t.system + getattr(t, "nice", 0.0) + getattr(t, "steal", 0.0) for t in times))


def _times(process: psutil.Process) -> _Times | None:
    """None where it is gone."""
    try:
        with process.oneshot():
            times = process.cpu_times()
            return _Times(times.user + times.system, times.children_user + times.children_system, process.ppid())
    except psutil.Error:
        return None


def _memory_mib(members: set[psutil.Process]) -> float:
    """Resident memory; a page that several processes share counts in each."""
    resident = 0
    for process in members:
        with suppress(psutil.Error):
            resident += process.memory_info().rss
    return resident / _MIB
