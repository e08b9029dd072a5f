"""What a calibration found: its verdicts, its files. Measures nothing."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ragbench.calibration import stall
from ragbench.calibration.queues import MOST_OUTSIDE, OFF, Cell, worst
from ragbench.calibration.rates import Sent, highest_clean_rps
from ragbench.calibration.stall import Seen
from ragbench.files.csv_format import CsvFormat
from ragbench.results.records import write_atomic

# A queue that was not answered has NaN for figures.
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
        return [*self._sent_claims(), *self._queue_claims(), self._stall_claim()]

    def _sent_claims(self) -> list[Claim]:
        first = self.sent[1][0]
        text = (
            f"at {first.asked_rps:g}/s even spacing for {first.duration_s:g} s: sent {first.sent_rps:.2f}/s, "
            f"gap CV {first.gap_cv:.3f}, send lag p99 {first.send_lag_p99_s * 1e3:.2f} ms"
        )
        return [
            Claim(text, not first.faults),
            *(
                Claim(
                    f"highest clean rate of {n} client process{'es' if n > 1 else ''}: "
                    + (f"{rate:g}/s" if (rate := highest_clean_rps(found)) else "none"),
                    highest_clean_rps(found) is not None,
                )
                for n, found in self.sent.items()
            ),
        ]

    def _queue_claims(self) -> list[Claim]:
        shown = [cell for cell in self.cells if cell.has_interval]
        inside = sum(cell.is_inside for cell in shown)
        text = f"theory inside the 95% interval in {inside} of the {len(shown)} queues long enough to have one"
        theory, exact = worst(self.cells, lambda cell: cell.mean_off), worst(self.cells, lambda cell: cell.exact_off)
        return [
            Claim(text, inside >= len(shown) - MOST_OUTSIDE),
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
        ]

    def _stall_claim(self) -> Claim:
        opened, closed = self.seen
        text = (
            f"a {stall.STALL_S:g} s stall: open-loop p99 {opened.latency_p99_s:.3f} s "
            f"(by arithmetic {opened.expected_p99_s:.3f} s), closed-loop p99 {closed.latency_p99_s:.3f} s: "
        )
        faults = stall.faults(opened, closed)
        return Claim(text + ("; ".join(faults) or "blind"), not faults)


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
