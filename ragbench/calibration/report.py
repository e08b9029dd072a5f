"""What a calibration found: its verdicts, its files. Measures nothing."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from ragbench.calibration import stall
from ragbench.calibration.queues import MOST_OUTSIDE, OFF, Cell, worst
from ragbench.calibration.rates import Sent, highest_clean_rps
from ragbench.calibration.stall import Seen
from ragbench.files.csv_table import read_dicts, write_table
from ragbench.results.records import write_atomic

_T = TypeVar("_T", Sent, Cell, Seen)


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
        told = (
            f"at {first.asked_rps:g}/s even spacing for {first.duration_s:g} s: sent {first.sent_rps:.2f}/s, "
            f"gap CV {first.gap_cv:.3f}, send lag p99 {first.send_lag_p99_s * 1e3:.2f} ms"
        )
        return [
            Claim(told, not first.faults),
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
        told = f"theory inside the 95% interval in {inside} of the {len(shown)} queues long enough to have one"
        theory, exact = worst(self.cells, lambda cell: cell.mean_off), worst(self.cells, lambda cell: cell.exact_off)
        return [
            Claim(told, inside >= len(shown) - MOST_OUTSIDE),
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
        told = (
            f"a {stall.STALL_S:g} s stall: open-loop p99 {opened.latency_p99_s:.3f} s "
            f"(by arithmetic {opened.expected_p99_s:.3f} s), closed-loop p99 {closed.latency_p99_s:.3f} s: "
        )
        faults = stall.faults(opened, closed)
        return Claim(told + ("; ".join(faults) or "blind"), not faults)


def write(found: Calibration, folder: Path, *, about: dict[str, Any]) -> list[Path]:
    """rates.csv, queues.csv, stall.csv, and calibration.json with the claims and `about`: machine, commit, time."""
    tables: dict[str, Sequence[Any]] = {
        "rates": [sent for rates in found.sent.values() for sent in rates],
        "queues": found.cells,
        "stall": found.seen,
    }
    written = []
    for name, rows in tables.items():
        write_atomic(folder / f"{name}.csv", _csv(rows))
        written.append(folder / f"{name}.csv")
    claims = [asdict(claim) for claim in found.claims]
    write_atomic(folder / "calibration.json", json.dumps({"claims": claims, **about}, indent=2, allow_nan=False) + "\n")
    return [*written, folder / "calibration.json"]


def load(folder: Path) -> Calibration:
    """What `write` wrote there."""
    sent: dict[int, list[Sent]] = {}
    for one in _rows(folder / "rates.csv", Sent):
        sent.setdefault(one.processes, []).append(one)
    opened, closed = _rows(folder / "stall.csv", Seen)
    return Calibration(sent, _rows(folder / "queues.csv", Cell), (opened, closed))


def _rows(path: Path, kind: type[_T]) -> list[_T]:
    types = get_type_hints(kind)
    return [kind(**{name: _value(types[name], cell) for name, cell in row.items()}) for row in read_dicts(path)]


def _value(kind: Any, cell: str | None) -> Any:
    """A cell by the type of its field; an empty one of a figure that may be absent is None."""
    if kind is str:
        return cell or ""
    return None if not cell else int(cell) if kind is int else float(cell)


def _csv(rows: Sequence[Any]) -> str:
    names = [item.name for item in fields(rows[0])]
    return write_table(names, ([_six_digits(getattr(row, name)) for name in names] for row in rows))


def _six_digits(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else value
