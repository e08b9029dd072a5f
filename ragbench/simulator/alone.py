"""Batches that a pipeline was timed in with no server round it, as `python -m servers.limit --out` keeps them."""

import csv
from pathlib import Path

from ragbench.simulator.batches import STAGES, Batch, Moment
from ragbench.simulator.service_times import FitError

__all__ = ["read_batches"]


def read_batches(path: Path) -> list[Batch]:
    """A batch a row; of its columns those that are wanted are `batch_size` and the stages. Raises FitError, OSError."""
    with path.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    try:
        return [
            Batch(
                Moment(int(row["batch_size"]), 0, 0.0, 0),
                Moment(int(row["batch_size"]), 0, 0.0, 0),
                tuple(float(row[stage]) for stage in STAGES),
            )
            for row in rows
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise FitError(f"{path}: wanted a number in each of batch_size, {', '.join(STAGES)} ({error!r})") from error
