"""Batches that a pipeline was timed in with no server round it, as `python -m servers.limit --out` keeps them."""

from pathlib import Path

from ragbench.files.csv_table import read_dicts
from ragbench.simulator.batches import STAGES, Batch, Moment
from ragbench.simulator.service_times import FitError

__all__ = ["read_batches"]


def read_batches(path: Path) -> list[Batch]:
    """A batch a row; of its columns those that are wanted are `batch_size` and the stages. Raises FitError, OSError."""
    rows = read_dicts(path)
    try:
        return [
            _batch(int(row["batch_size"] or ""), tuple(float(row[stage] or "") for stage in STAGES)) for row in rows
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise FitError(f"{path}: wanted a number in each of batch_size, {', '.join(STAGES)} ({error!r})") from error


def _batch(size: int, stages_s: tuple[float, ...]) -> Batch:
    met = Moment(size, others=0, idle_s=0.0, crowd=0)
    return Batch(met, met, stages_s)
