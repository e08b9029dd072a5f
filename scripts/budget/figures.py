"""CPU time a request, by part and by process: of one start, and over several. Measures and prints nothing."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

US = 1e6
FRONT, ALL = "front", "all"
"""The process that has parts, and the sum of all."""


@dataclass(frozen=True, slots=True)
class Start:
    """What a start used. `cpu_s`: user and kernel seconds by process; `samples` of the front by part."""

    requests: int
    seconds: float
    cpu_s: Mapping[str, tuple[float, float]]
    samples: Mapping[str, int]

    def __post_init__(self) -> None:
        if self.requests < 1:
            raise ValueError(f"requests must be >= 1, got {self.requests}: nothing was answered in the window")

    def process_us(self, name: str) -> tuple[float, float]:
        """User and kernel us a request of the processes of this name."""
        if name == ALL:
            user_s, kernel_s = (sum(used) for used in zip(*self.cpu_s.values(), strict=True))
        else:
            user_s, kernel_s = self.cpu_s.get(name, (0.0, 0.0))
        return user_s / self.requests * US, kernel_s / self.requests * US

    def part_us(self, part: str) -> float:
        """The front's us a request, by the part's share of the samples."""
        return sum(self.process_us(FRONT)) * self.samples.get(part, 0) / max(1, sum(self.samples.values()))


@dataclass(frozen=True, slots=True)
class Row:
    """us a request of a part of the front, or of a process: mean, lowest and highest of the starts.

    Of a part also its share of all samples, how many, and the standard error that so many leave (binomial).
    """

    server: str
    process: str
    part: str
    us: float
    low_us: float
    high_us: float
    standard_error_us: float | None = None
    share: float | None = None
    samples: int | None = None


def rows(server: str, starts: Sequence[Start]) -> list[Row]:
    """Parts of the front, the dearest first; then user and kernel time of each process that had any, and of all."""
    return [*_parts(server, starts), *_processes(server, starts)]


def counted(stacks: Iterable[tuple[str, int]]) -> Counter[str]:
    """Samples by part."""
    sums: Counter[str] = Counter()
    for part, count in stacks:
        sums[part] += count
    return sums


def _parts(server: str, starts: Sequence[Start]) -> list[Row]:
    samples: defaultdict[str, int] = defaultdict(int)
    for start in starts:
        for part, count in start.samples.items():
            samples[part] += count
    n = sum(samples.values())
    whole_us = _mean([sum(start.process_us(FRONT)) for start in starts])
    found = []
    for part, count in samples.items():
        share, each = count / n, [start.part_us(part) for start in starts]
        error_us = whole_us * math.sqrt(share * (1 - share) / n)
        found.append(Row(server, FRONT, part, *_spread(each), error_us, share, count))
    return sorted(found, key=lambda row: -row.us)


def _processes(server: str, starts: Sequence[Start]) -> list[Row]:
    found = []
    busy = dict.fromkeys(name for start in starts for name, used in start.cpu_s.items() if sum(used) > 0)
    for name in (*busy, ALL):
        each = [start.process_us(name) for start in starts]
        for part, values in (
            ("user", [user for user, _ in each]),
            ("kernel", [kernel for _, kernel in each]),
            ("whole", [user + kernel for user, kernel in each]),
        ):
            found.append(Row(server, name, part, *_spread(values)))
    return found


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    return _mean(values), min(values), max(values)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
