r"""The one way tables are written as CSV and read again, so that any text a service sends survives.

What a column means is decided elsewhere. On top of RFC 4180, in text: `\e` is the empty text (an empty cell is an
absent value), `\uXXXX` a lone surrogate, which UTF-8 cannot hold, and `\u005c` a backslash before an e or a u.
"""

import csv
import io
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
_LARGEST = 1e300  # of a number that can be drawn
_MOST_DIGITS = 300
_LONGEST_SHOWN = 200

csv.field_size_limit(sys.maxsize)  # an answer may be longer than the 131,072 characters of csv's own limit


class RecordError(ValueError):
    """A results file cannot be used: it is missing, or it does not hold what it should."""


def write_table(columns: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """The table as CSV text. A value is written by `cell`."""
    lines = [_line(columns), *(_line(row) for row in rows)]
    return "".join(lines)


def cell(value: object) -> str:
    """A value as it stands in a table: None empty, true and false, floats to the microsecond or six digits."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}" if 0 < abs(value) < 0.001 else f"{value:.6f}".rstrip("0").rstrip(".")
    return _text(value) if isinstance(value, str) else str(value)


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
    """The same from the bytes of a file called `name`."""
    lines = csv.reader(_decoded(data, name))
    columns = next(lines, [])
    missing = [column for column in needed if column not in columns]
    if missing:
        raise RecordError(f"{name} lacks the columns {', '.join(missing)}")
    return columns, _rows(lines, name, len(columns))


def foreign_lines(data: bytes, *, name: str) -> list[list[str]]:
    """The lines of somebody else's CSV with their cells as they stand, however many each has. Raises RecordError."""
    lines = csv.reader(_decoded(data, name))
    try:
        return list(lines)
    except csv.Error as error:
        raise RecordError(f"{name}, line {lines.line_num}: {error}") from error


def _decoded(data: bytes, name: str) -> TextIO:
    try:
        return io.StringIO(decoded(data, name=name), newline="")
    except ValueError as error:
        raise RecordError(str(error)) from error


def read_dicts(path: Path, needed: Sequence[str] = ()) -> list[dict[str, str | None]]:
    """One value by column for each row of a file. Raises RecordError."""
    columns, rows = read_table(path, needed)
    return [dict(zip(columns, cells, strict=True)) for _, cells in rows]


def read_frame(
    path: Path, types: Mapping[str, str], *, needed: Sequence[str] = (), most: float = _LARGEST
) -> "pd.DataFrame":
    """The file as a data frame; `types` has text, whole, count, real or truth by column, of others the cells decide.

    A count or a real is refused beyond `most` from 0, and so is what is not a number. Raises RecordError naming the
    column of a cell of another type.
    """
    import pandas as pd  # noqa: PLC0415  half a second to import, and measuring does not need it

    columns, rows = read_table(path, needed)
    table = list(rows)
    found = {}
    for place, column in enumerate(columns):
        cells = [cells[place] for _, cells in table]
        try:
            found[column] = _typed(cells, types[column], most) if column in types else _SERIES[_kind(cells)](cells)
        except ValueError as error:
            told = str(error)[:_LONGEST_SHOWN]
            raise RecordError(f"{path}, column {column} has a cell of the wrong type: {told}") from error
    return pd.DataFrame(found, columns=columns)


def _typed(cells: Cells, kind: str, most: float) -> "pd.Series[Any]":
    """The cells of a column. Raises ValueError where one is of another type, or a number that is none or too large."""
    series = _SERIES[kind](cells)
    if kind in ("real", "count"):
        wrong = [cell for cell, value in zip(cells, series, strict=True) if cell is not None and not abs(value) <= most]
        if wrong:
            raise ValueError(f"wanted numbers up to {most:g}, got {wrong[0]}")
    return series


def _line(values: Iterable[object]) -> str:
    cells = [_quoted(cell(value)) for value in values]
    return (",".join(cells) if cells != [""] else '""') + "\n"  # an empty line would be no row


def _quoted(text: str) -> str:
    return f'"{text.replace(chr(34), chr(34) * 2)}"' if _QUOTED.search(text) else text


def _text(value: str) -> str:
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", value) if value else _EMPTY


def _value(text: str) -> str | None:
    if not text:
        return None
    if "\\" not in text:
        return text
    return "" if text == _EMPTY else _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)


def _rows(lines: Any, name: str, width: int) -> Iterator[tuple[int, Cells]]:
    try:
        for line in lines:
            if len(line) != width:
                raise RecordError(f"{name}, line {lines.line_num}: {len(line)} cells, wanted {width}")
            yield lines.line_num, [_value(each) for each in line]
    except csv.Error as error:
        raise RecordError(f"{name}, line {lines.line_num}: {error}") from error


def _kind(cells: Cells) -> str:
    """What all cells that are there are, as `cell` writes it: a setting may be the text nan, or 1_000."""
    known = [each for each in cells if each is not None]
    if not known:
        return "real"
    if all(each in ("true", "false") for each in known):
        return "truth"
    if any(len(each) > _MOST_DIGITS for each in known):
        return "text"
    if all(_WHOLE.fullmatch(each) for each in known):
        return "real" if None in cells else "whole"
    return "real" if all(_REAL.fullmatch(each) and abs(float(each)) <= _LARGEST for each in known) else "text"


def _texts(cells: Cells) -> "pd.Series[Any]":
    import pandas as pd  # noqa: PLC0415

    return pd.Series(cells, dtype=pd.StringDtype("python", na_value=float("nan")))


def _reals(cells: Cells) -> "pd.Series[Any]":
    import pandas as pd  # noqa: PLC0415

    return pd.Series([float("nan") if each is None else float(each) for each in cells], dtype="float64")


def _wholes(cells: Cells) -> "pd.Series[Any]":
    """Whole numbers, absent ones too; Python's own where 64 bits do not hold them."""
    import pandas as pd  # noqa: PLC0415

    values = [None if each is None else _whole(each) for each in cells]
    fits = all(value is None or -(2**63) <= value < 2**63 for value in values)
    return pd.Series(values, dtype=("Int64" if None in values else "int64") if fits else "object")


def _whole(text: str) -> int:
    """A whole number, also as other programs write it: 10.0. Raises ValueError."""
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"a number of more than {_MOST_DIGITS} digits")
    return int(text.removesuffix(".0"))


def _truths(cells: Cells) -> "pd.Series[Any]":
    import pandas as pd  # noqa: PLC0415

    words = {"true": True, "false": False, "True": True, "False": False, None: None}
    unknown = [each for each in cells if each not in words]
    if unknown:
        raise ValueError(f"wanted true or false, got {unknown[0]!r}")
    return pd.Series([words[each] for each in cells], dtype="boolean")


_SERIES: Mapping[str, Callable[[Cells], "pd.Series[Any]"]] = {
    "text": _texts,
    "real": _reals,
    "whole": _wholes,
    "count": _wholes,
    "truth": _truths,
}
