"""python scripts/compare_costs.py [--out FOLDER]: cost_aware against late_binding in virtual time.

Four shapes of service time and five loads, each with eight seeds. Noise and network are those measured in
results/reference-cpu, and so is the shape `tiny`; the others have times of a processor, of a GPU, and between these.
Writes costs.csv and costs.md to results/reference-policies-costs unless told otherwise.
"""

import argparse
import copy
import sys
import time
from collections.abc import Sequence
from functools import cache
from math import exp, log, sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from tables import page  # noqa: E402

from ragbench.results.paths import StudyPaths  # noqa: E402
from ragbench.results.records import Row  # noqa: E402
from ragbench.simulator.fitting import Fitted, choose, fits  # noqa: E402
from ragbench.simulator.run import run  # noqa: E402
from ragbench.simulator.scenario import Phase, Scenario, schedule  # noqa: E402
from ragbench.simulator.service_times import ServiceTimes  # noqa: E402
from ragbench.simulator.users import run_users  # noqa: E402

SHAPES = {"tiny": None, "cpu": (0.002, 0.004), "between": (0.010, 0.001), "gpu": (0.020, 0.0003)}
"""(a, b) of T(n) = a + b n in seconds; None: as measured."""
USERS = (1, 8, 32, 64)
OPEN = "poisson at 75%"  # of what full batches carry
POLICIES = ("late_binding", "cost_aware")
SEEDS = range(1, 9)
_T = 2.365  # Student's, 95%, eight seeds
_DURATION_S, _WARMUP_S = 11.0, 1.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare, print the table, keep it."""
    flags = argparse.ArgumentParser(prog="python scripts/compare_costs.py", description=__doc__.splitlines()[0])
    flags.add_argument("--out", type=Path, default=ROOT / "results" / "reference-policies-costs")
    options = flags.parse_args(arguments)
    begun_s = time.monotonic()
    table = pd.DataFrame([cell(shape, load) for shape in SHAPES for load in (*USERS, OPEN)])
    title, command = "cost_aware against late_binding in virtual time", "python scripts/compare_costs.py"
    text = page(title, table, [verdict(table)], command=command, lasted_s=time.monotonic() - begun_s)
    print(text)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "costs.csv").write_text(table.to_csv(index=False, lineterminator="\n"), encoding="utf-8")
    (options.out / "costs.md").write_text(text, encoding="utf-8")


def cell(shape: str, load: int | str) -> dict[str, Any]:
    """A row: of both policies throughput and p95, means over the seeds, and the ratios with their 95% intervals."""
    found = {policy: [figures(shape, load, policy, seed) for seed in SEEDS] for policy in POLICIES}
    times = service_times(shape)
    row: dict[str, Any] = {
        "shape": shape,
        "a_ms": round(times.a_s * 1e3, 3),
        "b_ms": round(times.b_s * 1e3, 3),
        "load": f"{load} users" if isinstance(load, int) else load,
        "seeds": len(SEEDS),
    }
    for place, name in enumerate(("throughput_rps", "latency_p95_ms")):
        before, after = ([each[place] for each in found[policy]] for policy in POLICIES)
        row |= {f"{policy}_{name}": round(fmean(each[place] for each in found[policy]), 2) for policy in POLICIES}
        ratio = interval([log(one / other) for one, other in zip(after, before, strict=True)])
        row |= dict(zip((f"{name}_ratio", f"{name}_low", f"{name}_high"), ratio, strict=True))
    return row


def verdict(table: pd.DataFrame) -> str:
    """Whether it may be the default: nowhere more than 2% worse, somewhere 5% better."""
    rates, tails = table.throughput_rps_ratio, table.latency_p95_ms_ratio
    is_worse = min(rates.min(), 1 / tails.max()) < 0.98
    is_better = max(rates.max(), 1 / tails.min()) >= 1.05
    return (
        f"Throughput is {rates.min():.3f} to {rates.max():.3f} times that of late_binding, p95 {tails.min():.3f} to "
        f"{tails.max():.3f} times. By more than 2% worse somewhere: {'yes' if is_worse else 'no'}; "
        f"by 5% better somewhere: {'yes' if is_better else 'no'}."
    )


def figures(shape: str, load: int | str, policy: str, seed: int) -> tuple[float, float]:
    """Answers a second, and the 95th percentile of latency in ms, of the requests due after the warm-up."""
    times, settings = service_times(shape), {**fitted().info["settings"], "policy": policy}
    common: dict[str, Any] = {
        "design": "batched",
        "settings": settings,
        "times": times,
        "timeout_s": 30.0,
        "seed": seed,
    }
    if isinstance(load, int):
        rows = run_users(load, duration_s=_DURATION_S, **common)
    else:
        most = settings["max_batch_size"]
        phases = (Phase(_DURATION_S, 0.75 * most / times.mean_s(most)),)
        rows, _ = run(schedule(Scenario(design="batched", phases=phases, seed=seed)), **common)
    return _figures(rows)


def _figures(rows: Sequence[Row]) -> tuple[float, float]:
    """Raises ValueError unless all requests were answered."""
    if failed := sum(row.status != "ok" for row in rows):
        raise ValueError(f"all requests must be answered, got {failed} that were not")
    done_s = np.array([row.done_s for row in rows], dtype=float)
    latency_ms = [1e3 * row.latency_s for row in rows if row.due_s > _WARMUP_S and row.latency_s is not None]
    answered = np.count_nonzero((done_s > _WARMUP_S) & (done_s <= _DURATION_S))
    return answered / (_DURATION_S - _WARMUP_S), float(np.percentile(latency_ms, 95))


def interval(logs: Sequence[float]) -> tuple[float, float, float]:
    """The geometric mean, and the ends of its 95% interval; `logs`: of a ratio, one a seed."""
    mean, half = fmean(logs), _T * stdev(logs) / sqrt(len(logs))
    return round(exp(mean), 4), round(exp(mean - half), 4), round(exp(mean + half), 4)


@cache
def service_times(shape: str) -> ServiceTimes:
    """The measured ones, moved to the line of the shape."""
    times = copy.copy(fitted().times)
    if (line := SHAPES[shape]) is not None:
        times.a_s, times.b_s = line
    return times


@cache
def fitted() -> Fitted:
    """The design `batched` of the committed study."""
    return choose(fits(StudyPaths(ROOT / "results" / "reference-cpu")), "batched")


if __name__ == "__main__":
    main()
