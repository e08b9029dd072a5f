"""Designs whose every time is known, for tests of the simulator: no noise unless asked for, no network."""

import pandas as pd

from ragbench.simulator.service_times import Drawn, ServiceTimes
from ragbench.study.questions import Question
from ragbench.study.schedule import Request

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
    return ServiceTimes(on_a_line(a_s, b_s), cold_start_s=cold_start_s)


def on_a_line(a_s: float, b_s: float) -> pd.DataFrame:
    """A batch of each size to eight, alone on its machine."""
    return pd.concat([batch_of(size, a_s + b_s * size) for size in range(1, 9)])


def batch_of(
    size: int, length_s: float, *, beside: float = 0.0, network_s: float = 0.0, idle_s: float = 0.0, times: int = 1
) -> pd.DataFrame:
    """A batch beside so many others all the time, with no other request in the service; so many `times`."""
    stages = {"embed_s": 0.0, "retrieve_s": 0.0, "generate_s": length_s, "length_s": length_s}
    met = {"idle_s": idle_s, "beside": beside, "others_at_end": round(beside), "crowd_at_start": 0, "crowd_at_end": 0}
    unknown = {"dispatch_s": float("nan"), "turn_s": float("nan")}
    batch = {"size": size, **stages, **met, **unknown, "networks_s": (network_s,) * size}
    return pd.DataFrame([batch] * times)


class Noisy(ServiceTimes):
    """As `line`, a tenth more or less: no two batches take equally long, as on a real clock."""

    def __init__(self, a_s: float, b_s: float) -> None:
        super().__init__(on_a_line(a_s, b_s))

    def draw(self, start, rng):
        return Drawn((0.0, 0.0, self.mean_s(start.size) * rng.uniform(0.9, 1.1)), 0.0, 0.0)


class Exponential(ServiceTimes):
    """One request at a time, exponential service."""

    def __init__(self, mean_s: float) -> None:
        super().__init__(on_a_line(0.0, mean_s))
        self._mean_s = mean_s

    def draw(self, start, rng):
        return Drawn((0.0, 0.0, rng.expovariate(1 / self._mean_s)), 0.0, 0.0)


def requests(due_s) -> list[Request]:
    return [Request(number, float(due), Question(f"q{number}", "?")) for number, due in enumerate(due_s)]


class Contended(ServiceTimes):
    """As on a machine of two cores: noise, a cold pipeline, replicas that slow each other, a network that fills up."""

    def __init__(self, a_s: float, b_s: float, *, contention: float) -> None:
        super().__init__(on_a_line(a_s, b_s))
        self._contention = contention
        self.way_in_s = 0.0005

    def draw(self, start, rng):
        cold = 1.0 + 0.15 * min(1.0, start.idle_s / 0.02)
        return Drawn((0.0, 0.0, self.mean_s(start.size) * cold * rng.uniform(0.85, 1.15)), 0.0, 0.0)

    def slowdown(self, size, others):
        return 1.0 + self._contention * others

    def networks_s(self, end, rng):
        return [0.001 * rng.uniform(0.8, 1.2) * (1 + 0.5 * end.others + 0.2 * min(end.crowd, 10))] * end.size
