"""python scripts/compare_policies.py FOLDER: the batch policies in virtual time, with service times fitted to FOLDER.

A machine that others share is half as fast in one minute as in the next; here each policy meets the same schedules
and the same pipeline. Prints p95 in ms: Poisson arrivals, medians of eight seeds of 10 s.
"""

import sys
from pathlib import Path
from statistics import median

import numpy as np

from policies.batching import POLICIES
from ragbench.results.paths import StudyPaths
from ragbench.simulator.fitting import choose, fits
from ragbench.simulator.run import run
from ragbench.simulator.scenario import Phase, Scenario, schedule

RATES = (100, 300, 450)
SEEDS = range(1, 9)


def main(folder: Path) -> None:
    """A line a rate, in the form of docs/serving.md."""
    fitted = choose(fits(StudyPaths(folder)), "batched")
    for rate in RATES:
        tails = []
        for policy in POLICIES:
            settings = {**fitted.info["settings"], "policy": policy, "max_wait_s": 0.01, "look_ahead": 4}
            found = []
            for seed in SEEDS:
                asked = schedule(Scenario(design="batched", phases=(Phase(10.0, rate),), seed=seed))
                rows, _ = run(asked, design="batched", settings=settings, times=fitted.times, timeout_s=30, seed=seed)
                found.append(
                    float(np.percentile([row.latency_s for row in rows if row.due_s > 1 and row.latency_s], 95))
                )
            tails.append(median(found) * 1e3)
        print(
            f"| {rate}/s | " + " | ".join(f"{tail:.1f} ms" for tail in tails) + f" | {tails[0] / min(tails) - 1:.0%} |"
        )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
