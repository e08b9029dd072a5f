"""A whole calibration: its loads in order, what must hold of them, its files."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ragbench.calibration import queues, rates, stall
from ragbench.calibration.queues import MOST_OUTSIDE, OFF, Cell
from ragbench.calibration.rates import Sent
from ragbench.calibration.stall import Seen
from ragbench.files.csv_format import CsvFormat
from ragbench.results.records import write_atomic

# What was not answered has NaN or infinity for figures.
RATES = CsvFormat(Sent, real=".6g", most=None)
QUEUES = CsvFormat(Cell, real=".6g", most=None)
STALL = CsvFormat(Seen, real=".6g", most=None)


@dataclass(frozen=True, slots=True)
class Claim:
    """One thing the harness says of itself, and whether it held here."""

    text: str
    holds: bool


@dataclass(frozen=True, slots=True)
class Calibration:
    """Everything one calibration measured. `sent`: by number of processes; `seen`: open loop, closed loop."""

    sent: dict[int, list[Sent]]
    cells: list[Cell]
    seen: tuple[Seen, Seen]

    @property
    def claims(self) -> list[Claim]:
        """What must hold, with the figures."""
        first, (opened, closed) = self.sent[1][0], self.seen
        clean_rps = {processes: rates.highest_clean_rps(found) for processes, found in self.sent.items()}
        shown = [cell for cell in self.cells if cell.has_interval]
        inside = sum(cell.is_inside for cell in shown)
        theory = max(self.cells, key=lambda cell: abs(cell.mean_off))
        exact = max(self.cells, key=lambda cell: abs(cell.exact_off))
        faults = stall.faults(opened, closed)
        return [
            Claim(
                f"at {first.asked_rps:g}/s even spacing for {first.duration_s:g} s: sent {first.sent_rps:.2f}/s, "
                f"gap CV {first.gap_cv:.3f}, send lag p99 {first.send_lag_p99_s * 1e3:.2f} ms",
                first.is_as_asked,
            ),
            *(
                Claim(f"highest clean rate of {rates.clients(n)}: {f'{rate:g}/s' if rate else 'none'}", bool(rate))
                for n, rate in clean_rps.items()
            ),
            Claim(
                f"theory inside the 95% interval in {inside} of the {len(shown)} queues long enough to have one",
                inside >= len(shown) - MOST_OUTSIDE,
            ),
            Claim(
                f"means within {OFF:.0%} of theory: the worst is {theory.queue} at {theory.utilisation:g}, "
                f"{theory.mean_off:+.1%}",
                all(abs(cell.mean_off) <= OFF and cell.verdict != "failed" for cell in self.cells),
            ),
            Claim(
                f"means and 95th percentiles within {OFF:.0%} of the same draw solved exactly: the worst is "
                f"{exact.queue} at {exact.utilisation:g}, {exact.exact_off:+.1%}",
                all(abs(cell.exact_off) <= OFF for cell in self.cells),
            ),
            Claim(
                f"a {stall.STALL_S:g} s stall: open-loop p99 {opened.latency_p99_s:.3f} s (by arithmetic "
                f"{opened.expected_p99_s:.3f} s), closed-loop p99 {closed.latency_p99_s:.3f} s: "
                + ("; ".join(faults) or "blind"),
                not faults,
            ),
        ]


def write(found: Calibration, folder: Path, *, about: dict[str, Any]) -> list[Path]:
    """rates.csv, queues.csv, stall.csv, and calibration.json with the claims and `about`: machine, commit, time."""
    tables = {
        "rates.csv": RATES.text(sent for rates in found.sent.values() for sent in rates),
        "queues.csv": QUEUES.text(found.cells),
        "stall.csv": STALL.text(found.seen),
    }
    for name, text in tables.items():
        write_atomic(folder / name, text)
    claims = [asdict(claim) for claim in found.claims]
    write_atomic(folder / "calibration.json", json.dumps({"claims": claims, **about}, indent=2, allow_nan=False) + "\n")
    return [*(folder / name for name in tables), folder / "calibration.json"]


def load(folder: Path) -> Calibration:
    """What `write` wrote there."""
    sent: dict[int, list[Sent]] = {}
    for one in RATES.read(folder / "rates.csv"):
        sent.setdefault(one.processes, []).append(one)
    opened, closed = STALL.read(folder / "stall.csv")
    return Calibration(sent, QUEUES.read(folder / "queues.csv"), (opened, closed))


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
