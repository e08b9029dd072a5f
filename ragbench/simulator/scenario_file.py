"""What a scenario leaves behind: its figures, its seconds, its rows, its picture. Runs nothing."""

from dataclasses import asdict
from pathlib import Path

import numpy as np

from ragbench.files.csv_format import CsvFormat
from ragbench.results.records import REQUESTS, write_atomic
from ragbench.simulator.figure import draw_timeline
from ragbench.simulator.scenario import Moment, Scenario, Simulated, timeline

TIMELINE = CsvFormat(Moment, real=".6g")
MOST_ROWS = 50_000  # in requests.csv; beyond it, every k-th request


def summary_of(simulated: Simulated, scenario: Scenario) -> dict[str, float]:
    """The scenario in figures; `wall_s` is what it took to compute."""
    latency_s = np.array([row.latency_s for row in simulated.rows if row.status == "ok"], dtype=np.float64)
    p50, p95, p99 = np.percentile(latency_s, [50, 95, 99]).tolist() if len(latency_s) else [float("nan")] * 3
    ready = [count.ready for count in simulated.counts] or [1]
    return {
        "requests": len(simulated.rows),
        "answered": len(latency_s),
        "offered_rps": scenario.offered_rps,
        "latency_p50_s": p50,
        "latency_p95_s": p95,
        "latency_p99_s": p99,
        "replicas_least": min(ready),
        "replicas_most": max(ready),
        "simulated_s": scenario.duration_s,
        "wall_s": simulated.wall_s,
    }


def write(simulated: Simulated, scenario: Scenario, folder: Path) -> list[Path]:
    """requests.csv (a sample where there are many), timeline.csv and timeline.png. -> their paths."""
    every = -(-len(simulated.rows) // MOST_ROWS) or 1
    moments = timeline(simulated)
    write_atomic(folder / "requests.csv", REQUESTS.text(simulated.rows[::every]))
    write_atomic(folder / "timeline.csv", TIMELINE.text(moments))
    note = f"requests.csv holds one request in {every}" if every > 1 else ""
    draw_timeline([asdict(moment) for moment in moments], folder / "timeline.png", title=scenario.title, note=note)
    return [folder / name for name in ("requests.csv", "timeline.csv", "timeline.png")]
