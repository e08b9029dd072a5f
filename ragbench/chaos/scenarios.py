"""The scenarios: which fault, under which load, on which fleet. A new one is a fault and an entry here."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from ragbench.chaos import faults
from ragbench.chaos.experiment import Experiment, quiet_s
from ragbench.chaos.figures import Figures, footprint_figures, overload_figures
from ragbench.files.toml_tables import StudyError


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row of the table. `length`: of its load, in units of --duration-s.

    `fault` is injected after the calm, and with `repeats` after each further one. `users` makes the load a closed loop;
    `load` replaces the share of the capacity. `flags` go to the fleet; `wrapper` is a command that runs it. With
    `is_stub_only` the fault is a feature of the profile stub; with `needs_reload` it is one of a proxy in front.
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
    figures: Callable[[Experiment], Figures] | None = None
    is_stub_only: bool = False
    needs_reload: bool = False

    def faults(self, duration_s: float) -> list[tuple[float, faults.Fault]]:
        """Each fault and when it is due; with `repeats`, at least as much time is left after the last as between."""
        first_s = quiet_s(duration_s)
        count = int(self.length * duration_s / first_s + 1e-9) - 1 if self.repeats else 1
        return [(first_s * (1 + i), self.fault) for i in range(count)] if self.fault else []


LOG_FOLDER = "{folder}"  # in a flag: where the experiment's logs go
AFTER_QUIET = "{after_quiet_s}"  # in a flag: when the fault is due, counted from a replica's start


def _shell(line: str) -> tuple[str, ...]:
    return ("sh", "-c", f'{line}; exec "$@"', "sh")


def _ordered(what: str, part: str) -> Scenario:
    flags = ("--faulty-replica", part, "--stub-fault-after-s", AFTER_QUIET)
    return Scenario(what, faults.await_ordered_fault, flags=flags, is_stub_only=True)


SCENARIOS: dict[str, Scenario] = {
    "kill": Scenario("SIGKILL a ready replica, again and again", faults.kill_a_replica, repeats=True),
    "stop": Scenario("SIGSTOP a replica for good", faults.stop_a_replica),
    "engine_stopped": Scenario("SIGSTOP a replica's engine for good", faults.stop_an_engine),
    "engine_fails": _ordered("a replica's engine fails every run from some moment on", "engine"),
    "batcher_ends": _ordered("a replica's batcher ends", "batcher"),
    "poison": Scenario(
        "a question that fails every batch that it is in, 100 times in a row",
        faults.ask_poisoned_questions,
        flags=("--stub-poison", faults.POISON),
        is_stub_only=True,
    ),
    "garbage": Scenario("a registered replica answers rubbish", faults.register_a_malformed_replica),
    "slow": Scenario("a registered replica is ten times slower", faults.register_a_slow_replica),
    "never_ready": Scenario(
        "kill a replica, and its replacement never gets ready",
        faults.stop_the_replacement,
        flags=("--ready-timeout-s", "10"),
    ),
    "balancer": Scenario("SIGTERM the balancer and start it again", faults.restart_the_balancer),
    "front": Scenario(
        "reload the proxy in front, again and again", faults.reload_the_front, repeats=True, needs_reload=True
    ),
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
        headers=faults.SHORT_TIMEOUT,
        figures=overload_figures,
    ),
}

LINUX_ONLY = {"disk_full": "/dev/full"}

_TWO = "--workers 2 --max-wait-s 0.005"
_SPAWNED = "spawn_main"  # of multiprocessing; LitServe and Mosec spawn nothing but workers

_WHAT = "SIGKILL one of two workers"

# The fleet and other frameworks, each with two workers: the command without pipeline and port, and the fault. Workers
# are found by the command lines of processes.
PEERS: Mapping[str, tuple[str, Scenario]] = {
    "scaled": (
        "python -m servers scaled --min-replicas 2 --max-replicas 2 --base-port 18000",
        Scenario(_WHAT, faults.kill_a_replica),
    ),
    **{
        name: (f"python -m peers {name} {_TWO}", Scenario(_WHAT, partial(faults.kill_a_worker, mark=mark)))
        for name, mark in {"litserve": _SPAWNED, "mosec": _SPAWNED, "ray": "ray::ServeReplica"}.items()
    },
}


def names_of(wanted: Sequence[str], *, platform: str = sys.platform) -> list[str]:
    """The wanted scenarios, or all that can run here. Raises StudyError for one that is unknown or cannot run."""
    unknown = [name for name in wanted if name not in SCENARIOS]
    if unknown:
        raise StudyError([f"unknown scenario {', '.join(unknown)}; there are {', '.join(SCENARIOS)}"])
    missing = {} if platform == "linux" else LINUX_ONLY
    if mistakes := [f"{name} needs {missing[name]}, which only Linux has" for name in wanted if name in missing]:
        raise StudyError(mistakes)
    return list(wanted) or [name for name in SCENARIOS if name not in missing]
