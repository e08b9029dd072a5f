"""Batches that a pipeline was timed in with no server round it, as `python -m servers.limit --out` keeps them."""

from pathlib import Path

from ragbench.csv_table import read_dicts
from ragbench.simulator.service_times import STAGES, Batch, FitError

__all__ = ["read_batches"]


def read_batches(path: Path) -> list[Batch]:
    """A batch a row; of its columns those that are wanted are `batch_size` and the stages. Raises FitError, OSError."""
    rows = read_dicts(path)
    try:
        return [
            Batch(int(row["batch_size"] or ""), tuple(float(row[s] or "") for s in STAGES), others=0.0, is_rested=False)
            for row in rows
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise FitError(f"{path}: wanted a number in each of batch_size, {', '.join(STAGES)} ({error!r})") from error
