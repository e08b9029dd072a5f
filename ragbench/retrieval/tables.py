"""The table of a grid: a row per cell, with those settings alone that vary. Formats nothing."""

from collections.abc import Iterator
from numbers import Integral

import pandas as pd

from ragbench.retrieval.cells import SETTINGS

_SHOWN = ("build_s", "search_s", "queries_per_s", "of_roofline", "recall_at_k", "index_mib", "peak_mib", "inertia")


def by_grid(cells: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The table of each grid, in order, under a heading that holds the settings that do not vary."""
    for name, rows in cells.groupby("grid", sort=False):
        varied = [setting for setting in SETTINGS if rows[setting].nunique(dropna=False) > 1]
        fixed = [setting for setting in SETTINGS if setting not in varied and rows[setting].notna().any()]
        told = ", ".join(f"{setting} {_told(rows[setting].iloc[0])}" for setting in fixed)
        status = [] if (rows["status"] == "ok").all() else ["status", "reason"]
        measured = [column for column in _SHOWN if rows[column].notna().any()]
        yield f"{name}: {told}", rows[[*varied, *status, *measured]].reset_index(drop=True)


def _told(value: object) -> str:
    return f"{int(value):,}" if isinstance(value, Integral) else str(value)
