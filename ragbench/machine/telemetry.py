"""The load on the machine, once a second: CPU and memory of client and server, CPU of all others, the GPUs.

verdicts.py decides whether the others took too much.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

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
        await loop.run_in_executor(thread, meter.begin, clock)
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


@dataclass(slots=True)
class Account:
    """CPU seconds that two families of processes have used since the account was opened.

    What a process had used when it ended comes back as its parent's children's time once it is reaped; it was booked
    already, so only the difference is.
    """

    used_s: dict[Whose, float] = field(default_factory=lambda: {"client": 0.0, "server": 0.0})
    _own_s: dict[psutil.Process, float] = field(default_factory=dict)
    _reaped_s: dict[psutil.Process, float] = field(default_factory=dict)
    _parents: dict[psutil.Process, int] = field(default_factory=dict)

    def open(self, families: dict[Whose, set[psutil.Process]]) -> None:
        """Everything used until now is before the account."""
        self.book(families)
        self.used_s = {"client": 0.0, "server": 0.0}

    def book(self, families: dict[Whose, set[psutil.Process]]) -> None:
        """Look at every process and book what it has used since the last look."""
        present: set[psutil.Process] = set()
        reaped: list[tuple[Whose, psutil.Process, float]] = []
        for whose, members in families.items():
            for process in members:
                times = _times(process)
                if times is None:
                    continue
                present.add(process)
                own_s, reaped_s, parent = times
                self.used_s[whose] += own_s - self._own_s.get(process, 0.0)
                reaped.append((whose, process, reaped_s - self._reaped_s.get(process, 0.0)))
                self._own_s[process], self._reaped_s[process], self._parents[process] = own_s, reaped_s, parent
        gone = self._own_s.keys() - present
        for whose, process, gained_s in reaped:
            booked_s = sum(self._own_s[p] + self._reaped_s[p] for p in gone if self._parents[p] == process.pid)
            self.used_s[whose] += max(0.0, gained_s - booked_s)
        for process in gone:
            for book in (self._own_s, self._reaped_s, self._parents):
                book.pop(process)


@dataclass(frozen=True, slots=True)
class _Look:
    """Totals at `t_s`: CPU seconds of all programs and of each family, and the counters of the quota."""

    t_s: float
    busy_s: float
    used_s: dict[Whose, float]
    counters: Counters | None


class Meter:
    """Makes a sample of two looks. `t_s` is the time of the last one."""

    def __init__(self, server: Members | None) -> None:
        self._server = server
        self._self = psutil.Process()
        self._account = Account()
        self._gpus = Gpus.found()
        self._families: dict[Whose, set[psutil.Process]] = {}
        self._refreshed_s = 0.0
        self._quota = binding_quota()
        self._last = _Look(0.0, 0.0, {}, None)

    @property
    def t_s(self) -> float:
        """Seconds on the clock of `begin` and `sample`."""
        return self._last.t_s

    def begin(self, clock: Callable[[], float]) -> None:
        """Take the first look."""
        self._find_members(clock())
        self._account.open(self._families)
        self._last = self._look(clock)

    def sample(self, clock: Callable[[], float]) -> Sample:
        """The use since the last look."""
        if clock() - self._refreshed_s >= _REFRESH_S:
            self._find_members(clock())
        self._account.book(self._families)
        before, now = self._last, self._look(clock)
        self._last = now
        span_s = max(now.t_s - before.t_s, 1e-9)
        used = {whose: (s - before.used_s[whose]) / span_s for whose, s in now.used_s.items()}
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

    def _look(self, clock: Callable[[], float]) -> _Look:
        counters = None if self._quota is None else self._quota.counters()
        return _Look(clock(), busy_s(), dict(self._account.used_s), counters)

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


def _times(process: psutil.Process) -> tuple[float, float, int] | None:
    """CPU seconds of a process, of its children that were reaped, and its parent; None where it is gone."""
    try:
        with process.oneshot():
            times = process.cpu_times()
            return times.user + times.system, times.children_user + times.children_system, process.ppid()
    except psutil.Error:
        return None


def _memory_mib(members: set[psutil.Process]) -> float:
    """Resident memory; a page that several processes share counts in each."""
    resident = 0
    for process in members:
        with suppress(psutil.Error):
            resident += process.memory_info().rss
    return resident / _MIB
