"""Reading tables of a TOML file: keys, types, lists. Every mistake is noted, none ends the reading.

What the values may be is decided by who reads them.
"""

import difflib
import math
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from ragbench.files.text_file import read_text

Table = Mapping[str, Any]
Reader = Callable[[object], Any]


class StudyError(ValueError):
    """A study cannot be used. `mistakes` holds every reason found, one line each."""

    def __init__(self, mistakes: Iterable[str]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("; ".join(self.mistakes))


class HalfRead(StudyError):
    """Some values of a list are of the wrong type. `rest` are the others, so that their mistakes are found too."""

    def __init__(self, mistakes: Iterable[str], *, rest: tuple[Any, ...]) -> None:
        super().__init__(mistakes)
        self.rest = rest


def read_toml(path: Path) -> Table:
    """The tables of a file. Raises StudyError where it is no TOML."""
    try:
        text = read_text(path)
    except ValueError as error:
        raise StudyError([str(error)]) from error
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also whole numbers of more digits than Python reads
        raise StudyError([f"{path}: not TOML: {error}"]) from error


def read_table(where: str, table: object, readers: Mapping[str, Reader], mistakes: list[str]) -> dict[str, Any]:
    """The values of `table` that have the right type; unknown keys and wrong types are noted."""
    if not isinstance(table, Mapping):
        mistakes.append(f"[{where}] must be a table, got {table!r}")
        return {}
    mistakes += unknown_keys(f"[{where}]", table, readers)
    values = {}
    for key in readers:
        if key not in table:
            continue
        try:
            values[key] = readers[key](table[key])
        except StudyError as error:
            mistakes += (f"[{where}] {key}{mistake}" for mistake in error.mistakes)
            if isinstance(error, HalfRead) and error.rest:
                values[key] = error.rest
    return values


def build(where: str, kind: type, values: Mapping[str, Any], mistakes: list[str]) -> Any:
    """`kind(**values)`, or None with its mistakes noted."""
    try:
        return kind(**values)
    except StudyError as error:
        mistakes += (f"[{where}] {mistake}" for mistake in error.mistakes)
        return None


def unknown_keys(where: str, table: Table, valid: Collection[str]) -> list[str]:
    """A line for each key that is not among `valid`, with the one perhaps meant."""
    mistakes = []
    for key in table.keys() - set(valid):
        close = difflib.get_close_matches(key, valid, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        mistakes.append(f"{where} has an unknown key {key!r}; {hint}valid: {', '.join(valid)}")
    return sorted(mistakes)


def text(value: object) -> str:
    """A string. Raises StudyError, as the readers below do; the message goes after the key."""
    if not isinstance(value, str):
        raise StudyError([f" must be text, got {value!r}"])
    return value


def whole(value: object) -> int:
    """An integer; true is none."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise StudyError([f" must be a whole number, got {value!r}"])
    return value


def number(value: object) -> float:
    """A finite number."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise StudyError([f" must be a number, got {value!r}"])
    return float(value)


def truth(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise StudyError([f" must be true or false, got {value!r}"])
    return value


def one_or_more(reader: Reader) -> Reader:
    """A reader of one value or a list of them, as a tuple."""
    return lambda value: list_of(reader)(value) if isinstance(value, list) else (reader(value),)


def list_of(reader: Reader) -> Reader:
    """A reader of lists whose items `reader` reads. Raises HalfRead where some are wrong."""

    def read(value: object) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise StudyError([f" must be a list, e.g. [{value!r}], got {value!r}"])
        found: list[Any] = []
        mistakes: list[str] = []
        for item in value:
            try:
                found.append(reader(item))
            except StudyError as error:
                mistakes += (f": each{mistake}" for mistake in error.mistakes)
        if mistakes:
            raise HalfRead(mistakes, rest=tuple(found))
        return tuple(found)

    return read
