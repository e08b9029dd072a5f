"""Designs whose every time is known, for tests of the simulator: no noise unless asked for, no network."""

from ragbench.schedule import Request
from ragbench.simulator.service_times import Batch, Drawn, ServiceTimes
from ragbench.workload import Question

BATCHED = {"policy": "late_binding", "max_batch_size": 8, "max_wait_s": 0.05, "lull_s": 0.0015, "max_queue": 1024}
FLEET = {
    **BATCHED,
    "min_replicas": 2,
    "max_replicas": 2,
    "routing": "least_outstanding",
    "scaling": "outstanding",
    "scale_interval_s": 0.5,
    "up_cooldown_s": 3.0,
    "down_cooldown_s": 30.0,
}


def line(a_s: float, b_s: float, *, cold_start_s: float = 4.0) -> ServiceTimes:
    """T(n) = a + b n exactly, nothing for the network."""
    batches = [Batch(size, (0.0, 0.0, a_s + b_s * size), 0.0, False) for size in range(1, 9)]
    return ServiceTimes(batches, networks_s=[(1, 0.0)], dispatches_s=[0.0], cold_start_s=cold_start_s)


class Noisy(ServiceTimes):
    """As `line`, a tenth more or less: no two batches take equally long, as on a real clock."""

    def __init__(self, a_s: float, b_s: float) -> None:
        super().__init__(line(a_s, b_s)._batches, networks_s=[(1, 0.0)], dispatches_s=[0.0])

    def draw(self, size, *, others, is_rested, rng):
        return Drawn((0.0, 0.0, self.mean_s(size) * rng.uniform(0.9, 1.1)), 0.0, 0.0, [0.0] * size)


class Exponential(ServiceTimes):
    """One request at a time, exponential service."""

    def __init__(self, mean_s: float) -> None:
        super().__init__(line(0.0, mean_s)._batches, networks_s=[(1, 0.0)], dispatches_s=[0.0])
        self._mean_s = mean_s

    def draw(self, size, *, others, is_rested, rng):
        return Drawn((0.0, 0.0, rng.expovariate(1 / self._mean_s)), 0.0, 0.0, [0.0] * size)


def requests(due_s) -> list[Request]:
    return [Request(number, float(due), Question(f"q{number}", "?")) for number, due in enumerate(due_s)]
