"""Study TOML -> Study. Every mistake is collected, so that one look at the message is enough to mend the file.

What a value may be is decided in config.py; here are the tables, their keys and the types.
"""

import difflib
import math
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ragbench.config import Load, Study, StudyError, Value, Variant, Workload, field_names
from ragbench.paths import SHIPPED_STUDIES
from ragbench.slo import Slo
from ragbench.workload import QuestionsError, load_questions

Table = Mapping[str, Any]
Reader = Callable[[object], Any]


class _HalfRead(StudyError):
    """Some values of a list are of the wrong type. `rest` are the others, so that their mistakes are found too."""

    def __init__(self, mistakes: Iterable[str], *, rest: tuple[Any, ...]) -> None:
        super().__init__(mistakes)
        self.rest = rest


def find_study(name: str) -> Path:
    """The file of a study given as a path or as a name in studies/. Raises StudyError listing the known names."""
    given = Path(name)
    for path in (given, Path("studies") / f"{name}.toml", SHIPPED_STUDIES / f"{name}.toml"):
        if path.is_file():
            return path
    known = sorted({path.stem for folder in (Path("studies"), SHIPPED_STUDIES) for path in folder.glob("*.toml")})
    raise StudyError([f"no study at {name!r}; known by name: {', '.join(known) or 'none'}"])


def load_study(path: Path) -> Study:
    """Read and check a study file. Raises StudyError holding every mistake in it."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StudyError([f"{path}: not TOML: {error}"]) from error
    try:
        return parse_study(tables, default_name=path.stem)
    except StudyError as error:
        raise StudyError(f"{path}: {mistake}" for mistake in error.mistakes) from error


def parse_study(tables: Table, *, default_name: str) -> Study:
    """The study that `tables` describes. Raises StudyError holding every mistake."""
    mistakes: list[str] = []
    mistakes += _unknown_keys("the study file", tables, ("study", "workload", "load", "variants"))
    head = _read("study", tables.get("study", {}), _STUDY, mistakes)
    workload = _build(
        "workload", Workload, _read("workload", tables.get("workload", {}), _WORKLOAD, mistakes), mistakes
    )
    load = _base_load(tables.get("load", {}), mistakes)
    variants = _variants(tables.get("variants", {}), load, mistakes)
    try:
        if workload is not None:
            load_questions(workload.questions)
    except QuestionsError as error:
        mistakes.append(f"[workload] {error}")
    values = {"name": default_name} | head
    # Without any variant the mistakes above say so; a stand-in lets the rest be checked.
    found = variants or (Variant("stand-in", load, command="stand-in"),)
    study = _build("study", Study, values | {"variants": found, "workload": workload or Workload()}, mistakes)
    if mistakes or study is None:
        raise StudyError(mistakes)
    return study


def _base_load(table: object, mistakes: list[str]) -> Load:
    """The [load] table; where it is wrong the mistakes are noted and a stand-in lets the reading go on."""
    before = len(mistakes)
    values = _read("load", table, _LOAD, mistakes)
    if isinstance(table, Mapping):
        if not {"rates", "concurrency"} & table.keys():
            mistakes.append("[load] needs rates, e.g. rates = [5, 10, 20], or concurrency, e.g. concurrency = [8]")
        if "rates" not in values and "concurrency" not in values:
            values["rates"] = (1.0,)
        if "duration_s" in table and "duration_s" not in values and "requests" not in values:
            values["duration_s"] = 1.0
        if "requests" in table and "requests" not in values and "duration_s" not in values:
            values["requests"] = 1
    load = _build("load", Load, values, mistakes)
    return load if load is not None and len(mistakes) == before else Load(rates=(1.0,), duration_s=1.0)


def _variants(tables: object, base: Load, mistakes: list[str]) -> tuple[Variant, ...]:
    if not isinstance(tables, Mapping) or not tables:
        mistakes.append('[variants.NAME] is needed at least once, with command = "..." or url = "..."')
        return ()
    found = (_variant(name, table, base, mistakes) for name, table in tables.items())
    return tuple(variant for variant in found if variant is not None)


def _variant(name: str, table: object, base: Load, mistakes: list[str]) -> Variant | None:
    where = f"variants.{name}"
    before = len(mistakes)
    values = _read(where, table, _VARIANT, mistakes)
    load = _own_load(f"{where}.load", values.pop("load", {}), base, mistakes)
    # Without this a command of the wrong type would be reported a second time, as absent.
    if isinstance(table, Mapping) and len(mistakes) > before and not {"command", "url"} & values.keys():
        values |= {"command": "stand-in"} if {"command", "url"} & table.keys() else {}
    return _build(where, Variant, values | {"name": name, "load": load}, mistakes)


def _own_load(where: str, table: object, base: Load, mistakes: list[str]) -> Load:
    """[variants.x.load]: keys here replace those of [load]; duration_s and requests replace each other."""
    values = _read(where, table, _LOAD, mistakes)
    if "duration_s" in values:
        values = {"requests": None} | values
    elif "requests" in values:
        values = {"duration_s": None} | values
    try:
        return replace(base, **values)
    except StudyError as error:
        mistakes += (f"[{where}] {mistake}" for mistake in error.mistakes)
        return base


def _read(where: str, table: object, readers: Mapping[str, Reader], mistakes: list[str]) -> dict[str, Any]:
    """The values of `table` that have the right type; unknown keys and wrong types are noted."""
    if not isinstance(table, Mapping):
        mistakes.append(f"[{where}] must be a table, got {table!r}")
        return {}
    mistakes += _unknown_keys(f"[{where}]", table, readers)
    values = {}
    for key in readers.keys() & table.keys():
        try:
            values[key] = readers[key](table[key])
        except StudyError as error:
            mistakes += (f"[{where}] {key}{mistake}" for mistake in error.mistakes)
            if isinstance(error, _HalfRead) and error.rest:
                values[key] = error.rest
    return values


def _build(where: str, kind: type, values: Mapping[str, Any], mistakes: list[str]) -> Any:
    """`kind(**values)`, or None with its mistakes noted."""
    try:
        return kind(**values)
    except StudyError as error:
        mistakes += (f"[{where}] {mistake}" for mistake in error.mistakes)
        return None


def _unknown_keys(where: str, table: Table, valid: Collection[str]) -> list[str]:
    mistakes = []
    for key in table.keys() - set(valid):
        close = difflib.get_close_matches(key, valid, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        mistakes.append(f"{where} has an unknown key {key!r}; {hint}valid: {', '.join(valid)}")
    return sorted(mistakes)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise StudyError([f" must be text, got {value!r}"])
    return value


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise StudyError([f" must be a whole number, got {value!r}"])
    return value


def _number(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise StudyError([f" must be a number, got {value!r}"])
    return float(value)


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise StudyError([f" must be true or false, got {value!r}"])
    return value


def _list_of(reader: Reader) -> Reader:
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
            raise _HalfRead(mistakes, rest=tuple(found))
        return tuple(found)

    return read


def _setting(value: object) -> Value:
    if isinstance(value, float) and not math.isfinite(value):
        raise StudyError([f" must be finite, got {value!r}"])
    if not isinstance(value, str | int | float | bool):
        raise StudyError([f" must be text, a number or true/false, got {value!r}"])
    return value


def _settings(table: object) -> dict[str, tuple[Value, ...]]:
    if not isinstance(table, Mapping):
        raise StudyError([f" must be a table, got {table!r}"])
    settings: dict[str, tuple[Value, ...]] = {}
    mistakes: list[str] = []
    for name, value in table.items():
        try:
            settings[name] = _list_of(_setting)(value) if isinstance(value, list) else (_setting(value),)
        except StudyError as error:
            mistakes += (f".{name}{mistake}" for mistake in error.mistakes)
    if mistakes:
        raise StudyError(mistakes)
    return settings


def _as_is(value: object) -> object:
    return value


def _slo(table: object) -> Slo:
    if not isinstance(table, Mapping):
        raise StudyError([f" must be a table, as in {{ latency_p95_s = 1.0 }}, got {table!r}"])
    try:
        return Slo.of(table)
    except ValueError as error:
        raise StudyError([f": {error}"]) from error


_STUDY: dict[str, Reader] = {"name": _text, "title": _text, "seeds": _list_of(_whole), "slo": _slo}
_WORKLOAD: dict[str, Reader] = {"questions": _text, "k": _whole, "max_new_tokens": _whole}
_LOAD: dict[str, Reader] = {
    "arrivals": _list_of(_text),
    "rates": _list_of(_number),
    "concurrency": _list_of(_whole),
    "duration_s": _number,
    "requests": _whole,
    "warmup_requests": _whole,
    "timeout_s": _number,
    "ready_timeout_s": _number,
    "processes": _whole,
    "deadline_s": _number,
    "restart": _truth,
}
_VARIANT: dict[str, Reader] = {"command": _text, "url": _text, "settings": _settings, "load": _as_is}

assert list(_LOAD) == field_names(Load), "every field of Load is readable from a study"
