"""A CSV table as a DataFrame and back: columns of a kind are typed so, the others by what all their cells are."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from ragbench.csv_table import Cells, RecordError, csv_text, read_table

__all__ = ["Kind", "frame_csv", "load_frame"]

# whole: every row has one; count: a row may have none. Whole numbers beyond int64 make a column of Python's own.
Kind = Literal["text", "number", "whole", "count", "truth"]

_WHOLE = re.compile(r"[-+]?\d+", re.ASCII)
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.ASCII | re.IGNORECASE)
_TRUTHS = {"true": True, "false": False}
_INT64 = np.iinfo(np.int64)


def load_frame(path: Path, kinds: Mapping[str, Kind], *, newer: Sequence[str] = ()) -> pd.DataFrame:
    """The file with the columns of `kinds` typed; `newer` ones may be missing and are then empty. Raises RecordError.

    Only an empty cell is absent: `NA`, `null` and an empty text in quotes are texts like any other.
    """
    table = read_table(path)
    table.check_columns(name for name in kinds if name not in newer)
    found = {name: _typed(table.column(name), kinds.get(name), where=f"{path}: {name}") for name in table.columns}
    frame = pd.DataFrame(found, columns=list(dict.fromkeys(table.columns)))
    return frame.assign(**{name: float("nan") for name in newer if name not in frame})


def frame_csv(frame: pd.DataFrame) -> str:
    """The frame as CSV text, floats without loss; what is missing is an empty cell."""
    columns = [[_cell(value) for value in frame[name]] for name in frame.columns]
    return csv_text([str(name) for name in frame.columns], zip(*columns, strict=True))


def _cell(value: Any) -> object:
    if value is None or value is pd.NA or value != value:  # noqa: PLR0124  nan
        return None
    if isinstance(value, bool | np.bool_):
        return bool(value)
    return repr(float(value)) if isinstance(value, float) else value


def _typed(cells: Cells, kind: Kind | None, *, where: str) -> pd.Series:
    try:
        return _KINDS[kind](cells) if kind else _inferred(cells)
    except (KeyError, ValueError) as error:
        raise RecordError(f"{where} has a cell of the wrong type: {error}") from error


def _texts(cells: Cells) -> pd.Series:
    # Of type object, because pandas' own type for text takes no lone surrogate where it is kept as Arrow's.
    return pd.Series([np.nan if cell is None else cell for cell in cells], dtype=object)


def _numbers(cells: Cells) -> pd.Series:
    return pd.Series(np.array([np.nan if cell is None else float(cell) for cell in cells], dtype=np.float64))


def _wholes(cells: Cells) -> pd.Series:
    if None in cells:
        raise ValueError("an empty cell where a whole number was wanted")
    return _whole_series([int(cell) for cell in cells if cell is not None], dtype="int64")


def _counts(cells: Cells) -> pd.Series:
    return _whole_series([None if cell is None else int(cell) for cell in cells], dtype="Int64")


def _whole_series(values: Sequence[int | None], *, dtype: str) -> pd.Series:
    fits = all(value is None or _INT64.min <= value <= _INT64.max for value in values)
    return pd.Series(list(values), dtype=dtype if fits else object)


def _truths(cells: Cells) -> pd.Series:
    return pd.Series([None if cell is None else _TRUTHS[cell.lower()] for cell in cells], dtype="boolean")


_KINDS: dict[str, Callable[[Cells], pd.Series]] = {
    "text": _texts,
    "number": _numbers,
    "whole": _wholes,
    "count": _counts,
    "truth": _truths,
}


def _inferred(cells: Cells) -> pd.Series:
    """A setting's column: whole numbers, numbers or truths where every cell that is there is one, else text."""
    present = [cell for cell in cells if cell is not None]
    if all(_WHOLE.fullmatch(cell) for cell in present) and len(present) == len(cells):
        return _wholes(cells)
    if all(_NUMBER.fullmatch(cell) for cell in present):
        return _numbers(cells)
    if all(cell.lower() in _TRUTHS for cell in present):
        truths = [np.nan if cell is None else _TRUTHS[cell.lower()] for cell in cells]
        return pd.Series(truths, dtype=bool if len(present) == len(cells) else object)
    return _texts(cells)
