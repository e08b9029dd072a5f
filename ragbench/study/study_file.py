"""Study TOML -> Study. Every mistake is collected, so that one look at the message is enough to mend the file.

What a value may be is decided in study.py; here are the tables, their keys and the types.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ragbench.files.toml_tables import (
    Reader,
    StudyError,
    Table,
    build,
    list_of,
    number,
    read_table,
    read_toml,
    text,
    truth,
    unknown_keys,
    whole,
)
from ragbench.results.paths import SHIPPED_STUDIES
from ragbench.results.slo import Slo
from ragbench.study.questions import QuestionsError, load_questions
from ragbench.study.study import Design, Load, Study, Value, Workload, field_names


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
    tables = read_toml(path)
    if "grids" in tables:
        raise StudyError([f"{path} is a retrieval study: ragbench retrieval {path}"])
    try:
        return parse_study(tables, default_name=path.stem)
    except StudyError as error:
        raise StudyError(f"{path}: {mistake}" for mistake in error.mistakes) from error


def parse_study(tables: Table, *, default_name: str) -> Study:
    """The study that `tables` describes. Raises StudyError holding every mistake."""
    mistakes: list[str] = []
    if "variants" in tables:
        raise StudyError(["[variants] is now [designs]: write [designs.NAME] for each [variants.NAME]"])
    mistakes += unknown_keys("the study file", tables, ("study", "workload", "load", "designs"))
    head = read_table("study", tables.get("study", {}), _STUDY, mistakes)
    workload = build(
        "workload", Workload, read_table("workload", tables.get("workload", {}), _WORKLOAD, mistakes), mistakes
    )
    load = _base_load(tables.get("load", {}), mistakes)
    designs = _designs(tables.get("designs", {}), load, mistakes)
    try:
        if workload is not None:
            load_questions(workload.questions)
    except QuestionsError as error:
        mistakes.append(f"[workload] {error}")
    values = {"name": default_name} | head
    # Without any design the mistakes above say so; a stand-in lets the rest be checked.
    found = designs or (Design("stand-in", load, command="stand-in"),)
    study = build("study", Study, values | {"designs": found, "workload": workload or Workload()}, mistakes)
    if mistakes or study is None:
        raise StudyError(mistakes)
    return study


def _base_load(table: object, mistakes: list[str]) -> Load:
    """The [load] table; where it is wrong the mistakes are noted and a stand-in lets the reading go on."""
    before = len(mistakes)
    values = read_table("load", table, _LOAD, mistakes)
    if isinstance(table, Mapping):
        if not {"rates", "concurrency"} & table.keys():
            mistakes.append("[load] needs rates, e.g. rates = [5, 10, 20], or concurrency, e.g. concurrency = [8]")
        if "rates" not in values and "concurrency" not in values:
            values["rates"] = (1.0,)
        if "duration_s" in table and "duration_s" not in values and "requests" not in values:
            values["duration_s"] = 1.0
        if "requests" in table and "requests" not in values and "duration_s" not in values:
            values["requests"] = 1
    load = build("load", Load, values, mistakes)
    return load if load is not None and len(mistakes) == before else Load(rates=(1.0,), duration_s=1.0)


def _designs(tables: object, base: Load, mistakes: list[str]) -> tuple[Design, ...]:
    if not isinstance(tables, Mapping) or not tables:
        mistakes.append('[designs.NAME] is needed at least once, with command = "..." or url = "..."')
        return ()
    found = (_design(name, table, base, mistakes) for name, table in tables.items())
    return tuple(design for design in found if design is not None)


def _design(name: str, table: object, base: Load, mistakes: list[str]) -> Design | None:
    where = f"designs.{name}"
    before = len(mistakes)
    values = read_table(where, table, _DESIGN, mistakes)
    load = _own_load(f"{where}.load", values.pop("load", {}), base, mistakes)
    # Without this a command of the wrong type would be reported a second time, as absent.
    if isinstance(table, Mapping) and len(mistakes) > before and not {"command", "url"} & values.keys():
        values |= {"command": "stand-in"} if {"command", "url"} & table.keys() else {}
    return build(where, Design, values | {"name": name, "load": load}, mistakes)


def _own_load(where: str, table: object, base: Load, mistakes: list[str]) -> Load:
    """[designs.x.load]: keys here replace those of [load]; duration_s and requests replace each other."""
    values = read_table(where, table, _LOAD, mistakes)
    if "duration_s" in values:
        values = {"requests": None} | values
    elif "requests" in values:
        values = {"duration_s": None} | values
    try:
        return replace(base, **values)
    except StudyError as error:
        mistakes += (f"[{where}] {mistake}" for mistake in error.mistakes)
        return base


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
            settings[name] = list_of(_setting)(value) if isinstance(value, list) else (_setting(value),)
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


_STUDY: dict[str, Reader] = {"name": text, "title": text, "seeds": list_of(whole), "slo": _slo}
_WORKLOAD: dict[str, Reader] = {"questions": text, "k": whole, "max_new_tokens": whole, "same_answers": truth}
_LOAD: dict[str, Reader] = {
    "arrivals": list_of(text),
    "rates": list_of(number),
    "concurrency": list_of(whole),
    "duration_s": number,
    "requests": whole,
    "warmup_requests": whole,
    "timeout_s": number,
    "ready_timeout_s": number,
    "processes": whole,
    "deadline_s": number,
    "restart": truth,
}
_DESIGN: dict[str, Reader] = {"command": text, "url": text, "ca_file": text, "settings": _settings, "load": _as_is}

assert list(_LOAD) == field_names(Load), "every field of Load is readable from a study"
