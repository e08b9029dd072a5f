"""A whole calibration: its loads in order. Judges nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ragbench.calibration import queues, rates, stall
from ragbench.calibration.report import Calibration


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long each load lasts. By number of client processes: at the first rate, and at each of `rising_rps`."""

    first_s: dict[int, float]
    each_s: dict[int, float]
    queues_s: float
    stall_s: float
    rising_rps: Sequence[float] = rates.RISING_RPS


WHOLE = Lengths(first_s={1: 20.0, 2: 2.0}, each_s={1: 2.0, 2: 2.0}, queues_s=120.0, stall_s=10.0)
QUICK = Lengths(first_s={1: 5.0, 2: 1.0}, each_s={1: 1.0, 2: 1.0}, queues_s=15.0, stall_s=6.0)


async def calibrated(lengths: Lengths, *, report: Callable[[str], None]) -> Calibration:
    """All measurements, one part after another. `report` is called with what runs now."""
    sent = {
        processes: await rates.rising(
            processes, first_s=first_s, each_s=lengths.each_s[processes], rising_rps=lengths.rising_rps, report=report
        )
        for processes, first_s in lengths.first_s.items()
    }
    report("six queues of known mean and p95, at once")
    cells = await queues.six(duration_s=lengths.queues_s)
    report("a stall of one second, in open and in closed loop")
    return Calibration(sent, cells, await stall.both(duration_s=lengths.stall_s))
