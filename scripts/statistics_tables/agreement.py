"""How well the simulator predicts loads that its fit has not seen: the committed study, and designs of known times.

A row a load; `source` is the folder it was measured in, or `known`, where the truth is a simulation with contention,
cold pipelines and a network that fills up, none of which the fit is told.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from ragbench.results.paths import StudyPaths
from ragbench.simulator.agreement import BELOW, WITHIN, Agreement
from ragbench.simulator.replay import replay
from tests.ragbench.simulator.known import Contended
from tests.ragbench.simulator.measured import write_measured

TITLE = "The simulator out of sample: each load predicted from a fit without its rate"
ROOT = Path(__file__).resolve().parents[2]
MEASURED = ROOT / "results" / "reference-cpu"
RATES, SEEDS = (20, 60, 150), (1, 2)


def rows(
    report: Callable[[str], None],
    *,
    measured: Path | None = MEASURED,
    rates: Sequence[int] = RATES,
    duration_s: float = 10.0,
) -> list[dict[str, Any]]:
    """The loads of `measured`, unless None, then those of the known designs."""
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if measured is not None:
            found += _rows(measured, folder / "measured", report)
        known = write_measured(
            folder / "known", Contended(0.006, 0.002, contention=0.3), rates=rates, seeds=SEEDS, duration_s=duration_s
        )
        found += _rows(known, folder / "predicted", report)
    return found


def _rows(study: Path, out: Path, report: Callable[[str], None]) -> list[dict[str, Any]]:
    replayed = replay(StudyPaths(study), StudyPaths(out), on_point=lambda name: report(f"{study.name}: {name}"))
    for line in replayed.left_out:
        report(line)
    return [{"source": study.name, **_row(one)} for one in replayed.agreements]


def _row(one: Agreement) -> dict[str, Any]:
    figures = {name: round(value, 5) if isinstance(value, float) else value for name, value in asdict(one).items()}
    return figures | {"is_judged": one.is_judged, "agrees": one.agrees}


def notes(table: pd.DataFrame) -> list[str]:
    """At how many judged loads of each source the two agree."""
    found = [
        f"Judged are valid loads below {BELOW:.0%} of the most that the design answered. "
        f"A load agrees where p50 and p95 both lie within {WITHIN:.0%} of what was measured.",
        "",
    ]
    for source, loads in table[table["is_judged"]].groupby("source", sort=False):
        off = loads[["p50_off", "p95_off"]].abs().mean()
        found.append(
            f"- {source}: out of sample {loads['agrees'].sum()} of {len(loads)}; mean error {off['p50_off']:.1%} (p50) "
            f"and {off['p95_off']:.1%} (p95)."
        )
    return found
