"""A whole calibration: the loads, in order, at the lengths asked for. Judges nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ragbench.calibration import queues, rates, stall
from ragbench.calibration.report import Calibration


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long each load lasts: at the first rate and at each of `rising_rps`, by number of client processes."""

    first_s: dict[int, float]
    each_s: dict[int, float]
    queues_s: float
    stall_s: float
    rising_rps: Sequence[float] = rates.RISING_RPS


WHOLE = Lengths(first_s={1: 20.0, 2: 2.0}, each_s={1: 2.0, 2: 2.0}, queues_s=120.0, stall_s=10.0)
QUICK = Lengths(first_s={1: 5.0, 2: 1.0}, each_s={1: 1.0, 2: 1.0}, queues_s=15.0, stall_s=6.0)


async def calibrated(lengths: Lengths, *, tell: Callable[[str], None]) -> Calibration:
    """Everything measured, each part with the machine to itself. `tell` hears what runs."""
    sent = {
        processes: await rates.rising(
            processes, first_s=first_s, each_s=lengths.each_s[processes], rising_rps=lengths.rising_rps, tell=tell
        )
        for processes, first_s in lengths.first_s.items()
    }
    tell("six queues of known mean and p95, at once")
    cells = await queues.six(duration_s=lengths.queues_s)
    tell("a stall of one second, in open and in closed loop")
    return Calibration(sent, cells, await stall.both(duration_s=lengths.stall_s))
