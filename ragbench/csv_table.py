"""A table of ragbench as CSV text, and back: any text, any number. Knows no column and no unit.

The csv module will not do: before Python 3.11.9 it leaves a lone carriage return unquoted, it reads no cell over
131,072 characters, and it cannot tell an empty text from an absent one.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from ragbench.text_file import read_text

__all__ = ["Cells", "RecordError", "Table", "cell_text", "csv_text", "parse_csv", "read_table"]

Cells = list[str | None]

_PLAIN = re.compile('[^,"\r\n\\\\\0\ud800-\udfff]+')
_QUOTED = re.compile('[,"\r\n]')
# A NUL ends the file for some readers, and UTF-8 has no lone surrogate: both are written as \u0000 and \ud800 are here.
# Where a text holds those letters itself, or has backslashes before either, these backslashes are doubled; no others.
_UNESCAPED = re.compile("(?<!\\\\)(\\\\*)(?:([\0\ud800-\udfff])|(u(?:0000|d[89a-f][0-9a-f]{2})))")
_ESCAPED = re.compile(r"(?<!\\)(\\+)u(0000|d[89a-f][0-9a-f]{2})")


class RecordError(ValueError):
    """A results file cannot be used: it is missing, it is no table, or its columns are not those expected."""


@dataclass(frozen=True, slots=True)
class Table:
    """A CSV file as read: its first line, and the cells of each row with the line that it begins at. None: absent."""

    path: Path
    columns: tuple[str, ...]
    rows: Sequence[tuple[int, Cells]]

    def check_columns(self, wanted: Iterable[str]) -> None:
        """Raise RecordError naming those of the `wanted` columns that are not there."""
        missing = [column for column in wanted if column not in self.columns]
        if missing:
            raise RecordError(f"{self.path} lacks the columns {', '.join(missing)}")

    def column(self, name: str) -> Cells:
        """The cells of one column."""
        place = self.columns.index(name)
        return [cells[place] for _, cells in self.rows]

    def records(self) -> Iterator[tuple[int, dict[str, str | None]]]:
        """Each row by column, with its line."""
        return ((line, dict(zip(self.columns, cells, strict=True))) for line, cells in self.rows)


def csv_text(columns: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """The table as text. An absent value is an empty cell, an empty text is `""`; floats are as of `cell_text`."""
    lines = (",".join(map(_written, cells)) for cells in chain([columns], rows))
    return "".join(f"{line}\n" for line in lines)


def _written(value: object) -> str:
    text = cell_text(value)
    if not isinstance(value, str) or _PLAIN.fullmatch(text):
        return text
    text = _UNESCAPED.sub(_escaped, text)
    return '"' + text.replace('"', '""') + '"' if not text or _QUOTED.search(text) else text


def cell_text(value: object) -> str:
    """A value as the text of its cell: true and false; floats to the microsecond, smaller ones to six digits."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}" if 0 < abs(value) < 0.001 else f"{value:.6f}".rstrip("0").rstrip(".")
    return str(value)


def _escaped(found: re.Match[str]) -> str:
    backslashes, letter, spelt = found.groups()
    return f"{backslashes * 2}\\u{ord(letter):04x}" if letter else f"{backslashes * 2}{spelt}"


def _unescaped(found: re.Match[str]) -> str:
    backslashes, code = found.groups()
    kept = "\\" * (len(backslashes) // 2)
    return kept + (chr(int(code, 16)) if len(backslashes) % 2 else f"u{code}")


def _read(text: str) -> str:
    return _ESCAPED.sub(_unescaped, text) if "\\u" in text else text


def read_table(path: Path) -> Table:
    """The table in a file. Raises RecordError where there is none."""
    if not path.is_file():
        raise RecordError(f"there is no {path}")
    try:
        header, *rows = parse_csv(read_text(path)) or [(1, [])]
    except RecordError as error:
        raise RecordError(f"{path}, {error}") from error
    except ValueError as error:
        raise RecordError(str(error)) from error
    columns = tuple(name or "" for name in header[1])
    for line, cells in rows:
        if len(cells) != len(columns):
            raise RecordError(f"{path}, line {line}: it has {len(cells)} cells, and the first line {len(columns)}")
    return Table(path, columns, rows)


def parse_csv(text: str) -> list[tuple[int, Cells]]:
    """The lines of a CSV text, each with its number, without blank ones. Raises RecordError naming the line."""
    return [(line, cells) for line, cells in _lines(text) if cells != [None]]


def _lines(text: str) -> Iterator[tuple[int, Cells]]:
    at, line = 0, 1
    while at < len(text):
        end = _end(text, at)
        if end < 0:
            raise RecordError(f"line {line}: a quoted cell does not end")
        yield line, _cells(text[at:end], line)
        line += text.count("\n", at, end) + 1
        at = end + 1


def _end(text: str, at: int) -> int:
    """Where the row that begins at `at` ends: at the first line end outside quotes; -1 where quotes stay open."""
    quotes, end = 0, at - 1
    while True:
        since, end = end + 1, text.find("\n", end + 1)
        last = len(text) if end < 0 else end
        quotes += text.count('"', since, last)
        if quotes % 2 == 0:
            return last
        if end < 0:
            return -1


def _cells(row: str, line: int) -> Cells:
    """The cells of one row. Split at quotation marks, every second part lies within quotes."""
    first, *parts = row.removesuffix("\r").split('"')
    cells, said = _plain(first), list[str]()
    last = len(parts) - 2
    for place in range(0, len(parts), 2):
        within, outside = parts[place], parts[place + 1]
        said.append(within)
        if not outside and place < last:
            continue  # two quotation marks within quotes are one
        if cells[-1] is not None or outside[:1] not in ("", ","):
            raise RecordError(f"line {line}: cell {len(cells)} has a quotation mark inside text that is not quoted")
        cells[-1] = _read('"'.join(said))
        said.clear()
        cells += _plain(outside[1:]) if outside else []
    return cells


def _plain(text: str) -> Cells:
    cells = text.split(",")
    return [_read(cell) or None for cell in cells] if "\\u" in text else [cell or None for cell in cells]
