"""A file format is a dataclass: a row is a value, the fields are the columns, their types the types of the cells."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, get_args

from ragbench.files.csv_table import RecordError, read_frame, read_table, write_table

if TYPE_CHECKING:
    import pandas as pd

LARGEST = 1e15  # of a number: a sum of many is finite
_LONGEST_SHOWN = 60
_Row = TypeVar("_Row")


@dataclass(frozen=True, slots=True)
class CsvFormat(Generic[_Row]):
    """Files of `row`, a dataclass. A field that may be None may be an empty cell; a Literal is a closed set of texts.

    `real`: the format of floats, as in `.6g`; `reals`: of single columns; without either `cell` writes them.
    `also`: properties written behind the fields.
    `most`: larger numbers are refused; None: any is read, NaN too. `ints`: the type of whole numbers in a data frame;
    without it a count, or a real where they may be absent.
    """

    row: type[_Row]
    real: str = ""
    reals: Mapping[str, str] = field(default_factory=dict)
    also: tuple[str, ...] = ()
    most: float | None = LARGEST
    ints: Literal["whole"] | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of every file."""
        return tuple(item.name for item in fields(self.row))  # type: ignore[arg-type]

    def text(self, rows: Iterable[_Row]) -> str:
        """The rows as CSV."""
        columns = (*self.columns, *self.also)
        return write_table(columns, ([self._written(name, getattr(row, name)) for name in columns] for row in rows))

    def _written(self, column: str, value: object) -> object:
        form = self.reals.get(column, self.real)
        return format(value, form) if form and isinstance(value, float) else value

    def read(self, path: Path) -> list[_Row]:
        """One value a line. Raises RecordError, which names the file and the line, where it cannot be read."""
        header, lines = read_table(path, self.columns)
        places = [(name, self._types(name), header.index(name)) for name in self.columns]
        rows = []
        for number, cells in lines:
            try:
                rows.append(self.row(**{name: self._value(name, types, cells[at]) for name, types, at in places}))
            except ValueError as error:
                raise RecordError(f"{path}, line {number}: {error}") from error
        return rows

    def frame(self, path: Path) -> "pd.DataFrame":
        """The file as a data frame with typed columns. Raises RecordError."""
        kinds = {name: self._kind(name) for name in self.columns}
        most = {} if self.most is None else {"most": self.most}
        return read_frame(path, kinds, needed=self.columns, **most)

    def _types(self, column: str) -> tuple[Any, ...]:
        (kind,) = (item.type for item in fields(self.row) if item.name == column)  # type: ignore[arg-type]
        return get_args(kind) or (kind,)

    def _kind(self, column: str) -> str:
        types = self._types(column)
        if bool in types:
            return "truth"
        if int in types:
            return self.ints or ("real" if NoneType in types else "count")
        return "real" if float in types else "text"

    def _value(self, column: str, types: tuple[Any, ...], cell: str | None) -> Any:
        """The value of a cell, by the types of its field. Raises ValueError."""
        if cell is None:
            if NoneType not in types:
                raise ValueError(f"{column} is absent")
            return None
        if float in types or int in types:
            value = float(cell) if float in types else int(cell)
            if self.most is not None and not abs(value) <= self.most:
                raise ValueError(f"{column} must be a number up to {self.most:g}, got {cell[:_LONGEST_SHOWN]}")
            return value
        known = ("true", "false") if bool in types else types
        if str not in types and cell not in known:
            raise ValueError(
                f"{column} must be one of {', '.join(map(str, known))}, got {ascii(cell)[:_LONGEST_SHOWN]}"
            )
        return cell == "true" if bool in types else cell
