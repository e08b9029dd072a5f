"""A file format is a dataclass: a row is a value, the fields are the columns, their types the types of the cells."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, get_args

from ragbench.files.csv_table import Column, RecordError, read_columns, read_frame, write_table

if TYPE_CHECKING:
    import pandas as pd
    from _typeshed import DataclassInstance

LARGEST = 1e15  # of a number: a sum of many is finite
RowT = TypeVar("RowT", bound="DataclassInstance")


@dataclass(frozen=True, slots=True)
class CsvFormat(Generic[RowT]):
    """Files of `row`, a dataclass. A field that may be None may be an empty cell; a Literal is a closed set of texts.

    `real`: the format of floats, as in `.6g`; `reals`: of single columns; without either `cell` writes them.
    `also`: properties written behind the fields.
    `most`: larger numbers are refused; None: any is read, NaN too. `ints`: the type of whole numbers in a data frame;
    without it a count, or a real where they may be absent.
    """

    row: type[RowT]
    real: str = ""
    reals: Mapping[str, str] = field(default_factory=dict)
    also: tuple[str, ...] = ()
    most: float | None = LARGEST
    ints: Literal["whole"] | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of every file."""
        return tuple(item.name for item in fields(self.row))

    def text(self, rows: Iterable[RowT]) -> str:
        """The rows as CSV."""
        columns = (*self.columns, *self.also)
        return write_table(columns, ([self._written(name, getattr(row, name)) for name in columns] for row in rows))

    def _written(self, column: str, value: object) -> object:
        form = self.reals.get(column, self.real)
        return format(value, form) if form and isinstance(value, float) else value

    def read(self, path: Path) -> list[RowT]:
        """One value a line. Raises RecordError, which names the file and the line, where it cannot be read."""
        columns = read_columns(path, self.columns)
        values = [self._values(columns[name]) for name in self.columns]
        rows = []
        for line, *cells in zip(columns[self.columns[0]].lines, *values, strict=True):
            try:
                rows.append(self.row(**dict(zip(self.columns, cells, strict=True))))
            except ValueError as error:
                raise RecordError(f"{path}, line {line}: {error}") from error
        return rows

    def frame(self, path: Path) -> "pd.DataFrame":
        """The file as a data frame with typed columns. Raises RecordError."""
        kinds = {name: self._kind(self._types(name)) for name in self.columns}
        if self.ints is None:
            kinds |= {name: "real" for name in kinds if {int, NoneType} <= set(self._types(name))}
        return read_frame(path, kinds, needed=self.columns, most=self.most)

    def _types(self, column: str) -> tuple[Any, ...]:
        (kind,) = (item.type for item in fields(self.row) if item.name == column)
        return get_args(kind) or (kind,)

    def _kind(self, types: tuple[Any, ...]) -> str:
        if bool in types:
            return "truth"
        if int in types:
            return self.ints or "count"
        return "real" if float in types else "text"

    def _values(self, column: Column) -> list[Any]:
        """The values of a column, by the types of its field."""
        types = self._types(column.name)
        if isinstance(types[0], str):  # of a Literal
            choice = {text: text for text in types}.__getitem__, f"one of {', '.join(types)}"
            return column.values(choice, may_be_absent=False)
        most = self.most if {int, float} & set(types) else None
        return column.values(self._kind(types), most=most, may_be_absent=NoneType in types)
