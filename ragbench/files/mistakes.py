"""Every mistake in a file's tables, a line each. Pydantic checks them by the fields of a dataclass."""

import difflib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import fields, is_dataclass
from functools import reduce
from typing import Any, TypeVar, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from ragbench.files.toml_tables import StudyError, Table

T = TypeVar("T")
Place = tuple[str | int, ...]

_UNKNOWN = "unexpected_keyword_argument"
_NO_TABLE = "{key} must be a table, got {input!r}"
_LINES = {  # pydantic's type of an error -> our line
    "bool_type": "{key} must be true or false, got {input!r}",
    "dataclass_type": _NO_TABLE,
    "dict_type": _NO_TABLE,
    "finite_number": "{key} must be a number, got {input!r}",
    "float_type": "{key} must be a number, got {input!r}",
    "greater_than": "{name} must be > {gt:g}, got {input!r}",
    "greater_than_equal": "{name} must be >= {ge:g}, got {input!r}",
    "int_type": "{key} must be a whole number, got {input!r}",
    "less_than_equal": "{name} must be <= {le:g}, got {input!r}",
    "missing": "{name} is needed",
    "setting_type": "{key} must be text, a finite number or true/false, got {input!r}",
    "sentence": "{text}",
    "string_too_short": "{name} must not be empty",
    "string_type": "{key} must be text, got {input!r}",
    "too_short": "{name} must not be empty",
    "tuple_type": "{key} must be a list, e.g. [{input!r}], got {input!r}",
    "value_error": "{name}: {error}",
    _UNKNOWN: "has an unknown key {name!r}; {hint}valid: {valid}",
}
_OF_A_KEY = "[key]"  # pydantic's place of a table's name, behind the name


def checked(kind: type[T], tables: Table) -> T:
    """The dataclass that `tables` describe. Raises StudyError with every mistake.

    Wrong values are taken out and the rest is checked again, so that they hide no mistake between others. An error
    about a value that was taken out is no mistake of the file.
    """
    adapter = TypeAdapter(kind)
    try:
        rest: Any = deepcopy(tables)
    except RecursionError:
        raise StudyError(["it holds tables in tables, more than can be read"]) from None
    gone: set[Place] = set()
    lines: list[str] = []
    while True:
        try:
            value = adapter.validate_python(rest)
        except ValidationError as error:
            errors = [item for item in error.errors(include_url=False) if not _concerned(item) & gone]
            lines += [_line(item, kind, rest) for item in errors]
            for place in sorted({place for item in errors for place in _concerned(item)}, reverse=True):
                gone |= {place} | _take_out(rest, place)
            if errors:
                continue
        if lines:
            raise StudyError(dict.fromkeys(lines))
        return value


def sentence(text: str, *keys: str) -> PydanticCustomError:
    """An error whose line is `text`. `keys`: those of its table that it concerns; none: the value that is checked."""
    return PydanticCustomError("sentence", "{text}", {"text": text, "keys": keys})


def refuse(errors: Iterable[PydanticCustomError]) -> None:
    """Raise all sentences about a table, if there are any."""
    details = [InitErrorDetails(type=error, loc=(error.context or {})["keys"][:1], input=None) for error in errors]
    if details:
        raise ValidationError.from_exception_data("table", details)


def _concerned(error: ErrorDetails) -> set[Place]:
    keys = error.get("ctx", {}).get("keys")
    return {(*error["loc"][:-1], key) for key in keys} if keys else {error["loc"]}


def _take_out(box: Any, at: Place) -> set[Place]:
    """Take out the value at a place, and a list that is empty then. -> the places that are empty now."""
    part, *rest = at
    inner = _inside(box, part)
    if not rest or not isinstance(inner, dict | list):  # the latter: a single value where a list may stand
        _pop(box, part)
        return {(part,)}
    gone = {(part, *place) for place in _take_out(inner, tuple(rest))}
    if inner:
        return gone
    if isinstance(inner, list):
        _pop(box, part)
    return {*gone, (part,)}


def _inside(box: Any, part: str | int) -> Any:
    with suppress(LookupError):
        return box[part]
    return None


def _pop(box: Any, part: str | int) -> None:
    with suppress(LookupError):
        box.pop(part)


def _line(error: ErrorDetails, kind: type, tables: Table) -> str:
    at = error["loc"]
    length, inner = _table_at(kind, at if error["type"] == "dataclass_type" else at[:-1])
    table, name = ".".join(map(str, at[:length])), _name(at[length:])
    values = {
        "name": name,
        "key": f"{name}: each" if _is_item(at, tables) else name,
        "input": error["input"],
        "msg": error["msg"],
        **error.get("ctx", {}),
    }
    if error["type"] == _UNKNOWN:
        known = [item.name for item in fields(inner)]
        values |= {"hint": _hint(name, known), "valid": ", ".join(known)}
        table = table or "the file"
    text = _LINES.get(error["type"], "{name}: {msg}").format(**values).strip()
    return f"[{table}] {text}" if length else f"{table} {text}".strip()


def _table_at(kind: Any, at: Place) -> tuple[int, Any]:
    """The length of the part of a place that names a table, and the dataclass of the innermost table."""
    length, inner = 0, kind
    for i, part in enumerate(at, start=1):
        kind = (
            get_type_hints(kind)[str(part)] if is_dataclass(kind) else next(filter(is_dataclass, get_args(kind)), None)
        )
        inner = kind if is_dataclass(kind) else inner
        length = i if is_dataclass(kind) and isinstance(part, str) else length
    return length, inner


def _name(parts: Place) -> str:
    """A key as in the file, without the number of an item."""
    names = [part for part in parts if part != _OF_A_KEY]
    while names and isinstance(names[-1], int):
        names.pop()
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in names).removeprefix(".")


def _is_item(at: Place, tables: Table) -> bool:
    """Whether a place is one of a list, and not a single value where a list may stand."""
    return isinstance(at[-1], int) and isinstance(reduce(_inside, at[:-1], tables), list)


def _hint(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}? " if close else ""
