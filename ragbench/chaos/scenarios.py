"""The scenarios: which fault, under which load, on which fleet. To add one, write its fault and an entry here."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ragbench.chaos import faults
from ragbench.chaos.figures import Evidence, Figures, footprint_figures, overload_figures


@dataclass(frozen=True, slots=True)
class Scenario:
    """One line of the table. `length`: of its load, in units of --duration-s.

    `fault` strikes after the calm, and with `repeats` again and again. `users` makes the load a closed loop, and `load`
    another share of the capacity than --load. `flags` go to the fleet; `wrapper` is a command that runs it. One that
    `is_stub_only` orders its fault from the profile stub.
    """

    what: str
    fault: faults.Fault | None = None
    repeats: bool = False
    length: float = 1.0
    users: int | None = None
    load: float | None = None
    flags: tuple[str, ...] = ()
    wrapper: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    hang_up_share: float = 0.0
    figures: Callable[[Evidence], Figures] | None = None
    is_stub_only: bool = False


LOG_FOLDER = "{folder}"  # in a flag: where the scenario's logs go
AFTER_CALM = "{after_calm_s}"  # in a flag: when the fault is due, counted from a replica's start


def _shell(line: str) -> tuple[str, ...]:
    return ("sh", "-c", f'{line}; exec "$@"', "sh")


SCENARIOS: dict[str, Scenario] = {
    "kill": Scenario("SIGKILL a ready replica, again and again", faults.kill_a_replica, repeats=True),
    "stop": Scenario("SIGSTOP a replica for good", faults.stop_a_replica),
    "engine_stopped": Scenario("SIGSTOP a replica's engine for good", faults.stop_an_engine),
    "engine_fails": Scenario(
        "a replica's engine fails every run from some moment on",
        faults.see_the_faulty_replica_fail,
        flags=("--faulty-replica", "engine", "--stub-fault-after-s", AFTER_CALM),
        is_stub_only=True,
    ),
    "batcher_ends": Scenario(
        "a replica's batcher ends",
        faults.see_the_faulty_replica_fail,
        flags=("--faulty-replica", "batcher", "--stub-fault-after-s", AFTER_CALM),
        is_stub_only=True,
    ),
    "poison": Scenario(
        "a question that fails every batch that it is in, 100 times in a row",
        faults.ask_poisoned_questions,
        flags=("--stub-poison", faults.POISON),
        is_stub_only=True,
    ),
    "garbage": Scenario("a registered replica answers rubbish", faults.register_rubbish),
    "slow": Scenario("a registered replica is ten times slower", faults.register_a_slow_replica),
    "never_ready": Scenario(
        "kill a replica, and its replacement never gets ready",
        faults.stop_the_replacement,
        flags=("--ready-timeout-s", "10"),
    ),
    "balancer": Scenario("SIGTERM the balancer and start it again", faults.restart_the_balancer),
    "disk_full": Scenario(
        "no log line of the balancer can be written, and a replica is killed",
        faults.kill_a_replica,
        flags=("--log-dir", LOG_FOLDER),
        wrapper=_shell("exec 2>/dev/full"),
    ),
    "descriptors": Scenario(
        "64 descriptors a process, and 200 users come",
        faults.send_a_crowd,
        length=2.0,
        load=0.1,
        wrapper=_shell("ulimit -n 64"),
    ),
    "many_users": Scenario("1,000 users at once", length=2.0, users=1000, figures=footprint_figures),
    "hang_up": Scenario("half of the clients hang up within 50 ms", hang_up_share=0.5),
    "overload": Scenario(
        "three times the capacity, for clients who give 1 s",
        faults.flood,
        length=3.0,
        headers=faults.HURRY,
        figures=overload_figures,
    ),
}

LINUX_ONLY = {"disk_full": "/dev/full"}


def names_of(wanted: Sequence[str], *, platform: str = sys.platform) -> list[str]:
    """The scenarios that were asked for, or all that this system can play. Raises ValueError naming those there are."""
    unknown = [name for name in wanted if name not in SCENARIOS]
    if unknown:
        raise ValueError(f"unknown scenario {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    missing = {} if platform == "linux" else LINUX_ONLY
    for name in wanted:
        if name in missing:
            raise ValueError(f"{name} needs {missing[name]}, which only Linux has")
    return list(wanted) or [name for name in SCENARIOS if name not in missing]
