"""The frameworks beside the fleet: how each is started with two workers, and which of its processes is a worker.

Only what an operator sees is used: the command lines of its processes. What is lost is counted as of any scenario.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from ragbench.chaos import faults
from ragbench.chaos.scenarios import Scenario

_TWO = "--workers 2 --max-wait-s 0.005"
_SPAWNED = "spawn_main"  # of multiprocessing; both frameworks spawn nothing but workers


@dataclass(frozen=True, slots=True)
class Peer:
    """A framework: its command, less the pipeline and the port, and what is killed."""

    command: str
    fault: faults.Fault

    @property
    def scenario(self) -> Scenario:
        """The same for all."""
        return Scenario("SIGKILL one of two workers", self.fault)


PEERS: Mapping[str, Peer] = {
    "scaled": Peer(
        "python -m servers scaled --min-replicas 2 --max-replicas 2 --base-port 18000",
        faults.kill_a_replica,
    ),
    "litserve": Peer(f"python -m peers litserve {_TWO}", partial(faults.kill_a_worker, mark=_SPAWNED)),
    "mosec": Peer(f"python -m peers mosec {_TWO}", partial(faults.kill_a_worker, mark=_SPAWNED)),
    "ray": Peer(f"python -m peers ray {_TWO}", partial(faults.kill_a_worker, mark="ray::ServeReplica")),
}
