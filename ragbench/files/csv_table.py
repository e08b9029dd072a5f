r"""The one reader and writer of CSV tables; any text that a service sends survives both. What columns mean is not here.

On top of RFC 4180, in text: `\e` is the empty text (an empty cell is an absent value), `\uXXXX` a lone surrogate, which
UTF-8 cannot hold, and `\u005c` a backslash before an e or a u.
"""

import csv
import io
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ragbench.files.text_file import decoded, read_bytes

if TYPE_CHECKING:
    import pandas as pd

Cells = Sequence[str | None]

_QUOTED = re.compile(r'[,"\r\n\0]')
_ESCAPED = re.compile(r"\\(?=[eu])|[\ud800-\udfff]")
_ESCAPE = re.compile(r"\\u([0-9a-f]{4})")
_EMPTY = r"\e"
_WHOLE = re.compile(r"-?[0-9]+")
_REAL = re.compile(r"-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?")
_TRUTHS = {"true": True, "false": False, "True": True, "False": False, None: None}
_LARGEST = 1e300  # of a number that can be drawn
_MOST_DIGITS = 300
_LONGEST_SHOWN = 200

csv.field_size_limit(sys.maxsize)  # an answer may be longer than the 131,072 characters of csv's own limit


class RecordError(ValueError):
    """A file of results, questions or a report cannot be used. The message names the file."""


def write_table(columns: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """The table as CSV text. A value is written by `cell`."""
    return "".join(map(_line, (columns, *rows)))


def cell(value: object) -> str:
    """The text of a value: None empty, true and false, floats to the microsecond or six digits."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}" if 0 < abs(value) < 0.001 else f"{value:.6f}".rstrip("0").rstrip(".")
    if isinstance(value, str):
        return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", value) if value else _EMPTY
    return str(value)


def read_table(path: Path, needed: Sequence[str] = ()) -> tuple[list[str], Iterator[tuple[int, Cells]]]:
    """The names of the columns of a file, and its rows with their line numbers; None for an absent value.

    Raises RecordError where there is no such file, columns of `needed` are missing, or a row is of another length.
    """
    if not path.is_file():
        raise RecordError(f"there is no {path}")
    try:
        raw = read_bytes(path)
    except ValueError as error:
        raise RecordError(str(error)) from error
    return parse_table(raw, name=str(path), needed=needed)


def parse_table(data: bytes, *, name: str, needed: Sequence[str] = ()) -> tuple[list[str], Iterator[tuple[int, Cells]]]:
    """As `read_table`, from the bytes of a file called `name`."""
    lines = csv.reader(_decoded(data, name))
    columns = next(lines, [])
    missing = [column for column in needed if column not in columns]
    if missing:
        raise RecordError(f"{name} lacks the columns {', '.join(missing)}")
    return columns, _rows(lines, name, len(columns))


def foreign_lines(data: bytes, *, name: str) -> list[list[str]]:
    """The lines of another program's CSV: cells as they stand, any number a line. Raises RecordError."""
    lines = csv.reader(_decoded(data, name))
    try:
        return list(lines)
    except csv.Error as error:
        raise RecordError(f"{name}, line {lines.line_num}: {error}") from error


def read_dicts(path: Path, needed: Sequence[str] = ()) -> list[dict[str, str | None]]:
    """A dict by column for each row of a file. Raises RecordError."""
    columns, rows = read_table(path, needed)
    return [dict(zip(columns, cells, strict=True)) for _, cells in rows]


def read_frame(
    path: Path, types: Mapping[str, str], *, needed: Sequence[str] = (), most: float = _LARGEST
) -> "pd.DataFrame":
    """The file as a data frame. `types`: text, whole, count, real or truth by column; other columns are inferred.

    A count or a real beyond `most` from 0, or NaN, is refused. Raises RecordError naming the column of a cell of
    another type.
    """
    import pandas as pd  # noqa: PLC0415  half a second to import, and measuring does not need it

    columns, rows = read_table(path, needed)
    table = list(rows)
    series = {}
    for place, column in enumerate(columns):
        cells = [cells[place] for _, cells in table]
        try:
            series[column] = _series(cells, types.get(column) or _inferred(cells))
            if types.get(column) in ("real", "count"):
                _refuse_large(cells, series[column], most)
        except ValueError as error:
            reason = str(error)[:_LONGEST_SHOWN]
            raise RecordError(f"{path}, column {column} has a cell of the wrong type: {reason}") from error
    return pd.DataFrame(series, columns=columns)


def _refuse_large(cells: Cells, values: Iterable[Any], most: float) -> None:
    for text, value in zip(cells, values, strict=True):
        if text is not None and not abs(value) <= most:
            raise ValueError(f"wanted numbers up to {most:g}, got {text}")


def _line(values: Iterable[object]) -> str:
    cells = [_quoted(cell(value)) for value in values]
    return (",".join(cells) if cells != [""] else '""') + "\n"  # an empty line would be no row


def _quoted(text: str) -> str:
    return f'"{text.replace(chr(34), chr(34) * 2)}"' if _QUOTED.search(text) else text


def _decoded(data: bytes, name: str) -> TextIO:
    try:
        return io.StringIO(decoded(data, name=name), newline="")
    except ValueError as error:
        raise RecordError(str(error)) from error


def _rows(lines: Any, name: str, width: int) -> Iterator[tuple[int, Cells]]:
    try:
        for line in lines:
            if len(line) != width:
                raise RecordError(f"{name}, line {lines.line_num}: {len(line)} cells, wanted {width}")
            yield lines.line_num, [_value(text) for text in line]
    except csv.Error as error:
        raise RecordError(f"{name}, line {lines.line_num}: {error}") from error


def _value(text: str) -> str | None:
    if not text:
        return None
    if "\\" not in text:
        return text
    return "" if text == _EMPTY else _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)


def _inferred(cells: Cells) -> str:
    """The type of which every known cell is, as `cell` writes it: a setting may be the text nan, or 1_000."""
    known = [text for text in cells if text is not None]
    if not known:
        return "real"
    if all(text in ("true", "false") for text in known):
        return "truth"
    if any(len(text) > _MOST_DIGITS for text in known):
        return "text"
    if all(_WHOLE.fullmatch(text) for text in known):
        return "real" if None in cells else "whole"
    return "real" if all(_REAL.fullmatch(text) and abs(float(text)) <= _LARGEST for text in known) else "text"


def _series(cells: Cells, kind: str) -> "pd.Series[Any]":
    """A column. Whole numbers that 64 bits do not hold are Python's own. Raises ValueError."""
    import pandas as pd  # noqa: PLC0415

    if kind == "text":
        return pd.Series(cells, dtype=pd.StringDtype("python", na_value=float("nan")))
    if kind == "real":
        return pd.Series([float("nan") if text is None else float(text) for text in cells], dtype="float64")
    if kind == "truth":
        if unknown := [text for text in cells if text not in _TRUTHS]:
            raise ValueError(f"wanted true or false, got {unknown[0]!r}")
        return pd.Series([_TRUTHS[text] for text in cells], dtype="boolean")
    values = [None if text is None else _whole(text) for text in cells]
    fits = all(value is None or -(2**63) <= value < 2**63 for value in values)
    return pd.Series(values, dtype=("Int64" if None in values else "int64") if fits else "object")


def _whole(text: str) -> int:
    """A whole number, also as other programs write it: 10.0. Raises ValueError."""
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"a number of more than {_MOST_DIGITS} digits")
    return int(text.removesuffix(".0"))
