r"""The one reader and writer of CSV tables; any text that a service sends survives both. What columns mean is not here.

On top of RFC 4180, in text: `\e` is the empty text (an empty cell is an absent value), `\uXXXX` a lone surrogate, which
UTF-8 cannot hold, and `\u005c` a backslash before an e or a u.
"""

import csv
import io
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragbench.files.text_file import decoded, read_bytes

if TYPE_CHECKING:
    import pandas as pd

Cells = Sequence[str | None]
Reader = tuple[Callable[[str], Any], str]  # of the text of a cell, which may raise ValueError, and what it wants

_QUOTED = re.compile(r'[,"\r\n\0]')
_ESCAPED = re.compile(r"\\(?=[eu])|[\ud800-\udfff]")
_ESCAPE = re.compile(r"\\u([0-9a-f]{4})")
_EMPTY = r"\e"
_WHOLE = re.compile(r"-?[0-9]{1,300}")
_REAL = re.compile(r"-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?")
_TRUTHS = {"true": True, "false": False, "True": True, "False": False}
_DTYPES = {"real": "float64", "truth": "boolean"}
_LARGEST = 1e300  # of a number that can be drawn
_MOST_DIGITS = 300
_LONGEST_SHOWN = 60

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


@dataclass(frozen=True, slots=True)
class Column:
    """The cells of one column of a file, each with its line; None for an absent value."""

    path: Path
    name: str
    lines: Sequence[int]
    cells: Sequence[str | None]

    def values(self, kind: str | Reader, *, most: float | None = None, may_be_absent: bool = True) -> list[Any]:
        """The values of a kind, or by a reader; none beyond `most` from 0, and no NaN then. Raises RecordError."""
        read, wanted = _KINDS[kind] if isinstance(kind, str) else kind
        if not may_be_absent and None in self.cells:
            raise RecordError(f"{self.path}, line {self.lines[self.cells.index(None)]}: {self.name} is absent")
        values = []
        for line, text in zip(self.lines, self.cells, strict=True):
            try:
                value = None if text is None else read(text)
                is_right = most is None or value is None or abs(value) <= most
            except (KeyError, ValueError):
                is_right = False
            if not is_right:
                limit = "" if most is None else f" up to {most:g}"
                got = ascii(text)[:_LONGEST_SHOWN]
                raise RecordError(f"{self.path}, line {line}: {self.name} must be {wanted}{limit}, got {got}")
            values.append(value)
        return values


def read_columns(
    path: Path, needed: Sequence[str] = (), *, raw: bytes | None = None, may_skip_lines: bool = False
) -> dict[str, Column]:
    """The columns of a file by name. `raw`: its bytes, if they were read before. `may_skip_lines`: empty ones.

    Raises RecordError where there is no such file, columns of `needed` are missing, or a row is of another length.
    """
    if raw is None and not path.is_file():
        raise RecordError(f"there is no {path}")
    try:
        text = decoded(read_bytes(path) if raw is None else raw, name=str(path))
    except ValueError as error:
        raise RecordError(str(error)) from error
    lines = csv.reader(io.StringIO(text, newline=""))
    header = next(lines, [])
    if missing := [column for column in needed if column not in header]:
        raise RecordError(f"{path} lacks the columns {', '.join(missing)}")
    numbers, rows = [], []
    try:
        for line in lines:
            if not line and may_skip_lines:
                continue
            if len(line) != len(header):
                raise RecordError(f"{path}, line {lines.line_num}: {len(line)} cells, wanted {len(header)}")
            numbers.append(lines.line_num)
            rows.append([_value(text) for text in line])
    except csv.Error as error:
        raise RecordError(f"{path}, line {lines.line_num}: {error}") from error
    return {name: Column(path, name, numbers, [row[at] for row in rows]) for at, name in enumerate(header)}


def read_frame(
    path: Path, types: Mapping[str, str], *, needed: Sequence[str] = (), most: float | None = _LARGEST
) -> "pd.DataFrame":
    """The file as a data frame. `types`: text, whole, count, real or truth by column; other columns are inferred.

    A count or a real of `types` beyond `most` from 0, or NaN, is refused. Raises RecordError.
    """
    import pandas as pd  # noqa: PLC0415  half a second to import, and measuring does not need it

    series = {}
    for name, column in read_columns(path, needed).items():
        kind = types.get(name) or _inferred(column.cells)
        values = column.values(kind, most=most if types.get(name) in ("real", "count") else None)
        fits = kind not in ("count", "whole") or all(x is None or -(2**63) <= x < 2**63 for x in values)
        if kind == "text":
            dtype = pd.StringDtype("python", na_value=math.nan)  # pyarrow's storage refuses lone surrogates
        else:
            dtype = ("Int64" if None in values else "int64") if kind in ("count", "whole") else _DTYPES[kind]
        # Whole numbers that 64 bits do not hold are Python's own.
        series[name] = pd.Series(values, dtype=dtype if fits else "object")
    return pd.DataFrame(series)


def _line(values: Iterable[object]) -> str:
    cells = [_quoted(cell(value)) for value in values]
    return (",".join(cells) if cells != [""] else '""') + "\n"  # an empty line would be no row


def _quoted(text: str) -> str:
    return f'"{text.replace(chr(34), chr(34) * 2)}"' if _QUOTED.search(text) else text


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
    if all(_WHOLE.fullmatch(text) for text in known):
        return "real" if None in cells else "whole"
    return "real" if all(_REAL.fullmatch(text) and abs(float(text)) <= _LARGEST for text in known) else "text"


def _whole(text: str) -> int:
    """A whole number, also as other programs write it: 10.0. Raises ValueError."""
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"a number of more than {_MOST_DIGITS} digits")
    return int(text.removesuffix(".0"))


_KINDS: Mapping[str, Reader] = {
    "text": (str, "text"),
    "real": (float, "a number"),
    "count": (_whole, "a whole number"),
    "whole": (_whole, "a whole number"),
    "truth": (_TRUTHS.__getitem__, "true or false"),
}
