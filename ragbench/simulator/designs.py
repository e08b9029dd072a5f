"""The three designs by name, made of the settings that a measured server reported."""

import inspect
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Protocol

from policies import batching, routing, scaling
from policies.admission import Admission
from ragbench.simulator.fleet import Fleet
from ragbench.simulator.machine import Heap, Machine
from ragbench.simulator.servers import Server, Visit
from ragbench.simulator.service_times import ServiceTimes

Settings = Mapping[str, Any]


class Design(Protocol):
    """What takes requests."""

    def submit(self, visit: Visit) -> None:
        """Take one."""


def baseline(heap: Heap, times: ServiceTimes, settings: Settings, rng: Random) -> Server:
    """One request at a time, in order of arrival, without a bound."""
    del settings
    machine, policy = Machine(heap, times.slowdown), batching.SizeOrAge(1, 0.0)
    return Server(heap=heap, times=times, policy=policy, admission=None, rng=rng, machine=machine)


def batched(heap: Heap, times: ServiceTimes, settings: Settings, rng: Random) -> Server:
    """A bounded queue and a batch policy."""
    return _batched(heap, times, settings, rng, machine=Machine(heap, times.slowdown))


def scaled(heap: Heap, times: ServiceTimes, settings: Settings, rng: Random) -> Fleet:
    """A fleet of batched replicas. With `own_machines` no replica slows another; otherwise as much as was measured."""
    shared = Machine(heap, times.slowdown)
    limits = scaling.Limits(*(settings[name] for name in ("min_replicas", "max_replicas", *_COOLDOWNS)))

    def make_server() -> Server:
        machine = Machine(heap, times.slowdown) if settings.get("own_machines") else shared
        return _batched(heap, times, settings, rng, machine=machine)

    return Fleet(
        heap=heap,
        make_server=make_server,
        route=routing.POLICIES[settings["routing"]],
        scaling=_made(scaling.POLICIES[settings["scaling"]], settings, limits=limits),
        replicas=limits.min_replicas,
        interval_s=settings["scale_interval_s"],
        cold_start_s=settings.get("cold_start_s", times.cold_start_s),
        rng=rng,
    )


_COOLDOWNS = ("up_cooldown_s", "down_cooldown_s")
DESIGNS: dict[str, Callable[[Heap, ServiceTimes, Settings, Random], Design]] = {
    "baseline": baseline,
    "batched": batched,
    "scaled": scaled,
}


def _batched(heap: Heap, times: ServiceTimes, settings: Settings, rng: Random, *, machine: Machine) -> Server:
    return Server(
        heap=heap,
        times=times,
        policy=_made(batching.POLICIES[settings["policy"]], settings),
        admission=Admission(settings["max_queue"], settings.get("max_predicted_wait_s")),
        rng=rng,
        machine=machine,
    )


def _made(policy: Callable[..., Any], settings: Settings, **given: Any) -> Any:
    """The policy with the settings that are called like its parameters, as the servers make it."""
    wanted = [name for name in inspect.signature(policy).parameters if name in settings]
    return policy(**given, **{name: settings[name] for name in wanted})
