"""Retrieval study TOML -> Study. Every mistake is collected, so that one look is enough to mend the file.

What a value may be is decided in study.py; here are the tables, their keys and the types.
"""

import math
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from ragbench.files.toml_tables import (
    Reader,
    StudyError,
    Table,
    build,
    number,
    one_or_more,
    read_table,
    read_toml,
    text,
    unknown_keys,
    whole,
)
from ragbench.retrieval.study import NEEDED, Grid, Study
from ragbench.study.study import field_names


def load_study(path: Path) -> Study:
    """Read and check a study file. Raises StudyError holding every mistake in it."""
    tables = read_toml(path)
    if "designs" in tables and "grids" not in tables:
        raise StudyError([f"{path} is no retrieval study: ragbench run {path}"])
    try:
        return parse_study(tables, default_name=path.stem)
    except StudyError as error:
        raise StudyError(f"{path}: {mistake}" for mistake in error.mistakes) from error


def parse_study(tables: Table, *, default_name: str) -> Study:
    """The study that `tables` describes. Raises StudyError holding every mistake."""
    mistakes = unknown_keys("the study file", tables, ("study", "grids"))
    head = read_table("study", tables.get("study", {}), _STUDY, mistakes)
    grids = _grids(tables.get("grids", {}), mistakes)
    # Without any grid the mistakes above say so; a stand-in lets the rest be checked.
    values = {"name": default_name, **head, "grids": grids or (Grid("stand-in", **_STAND_IN),)}
    study = build("study", Study, values, mistakes)
    if mistakes or study is None:
        raise StudyError(mistakes)
    return study


def _grids(tables: object, mistakes: list[str]) -> tuple[Grid, ...]:
    if not isinstance(tables, Mapping) or not tables:
        mistakes.append("[grids.NAME] is needed at least once, with metric, n, d and backend")
        return ()
    found = [_grid(name, table, mistakes) for name, table in tables.items()]
    return tuple(grid for grid in found if grid is not None)


def _grid(name: str, table: object, mistakes: list[str]) -> Grid | None:
    where = f"grids.{name}"
    values = read_table(where, table, _GRID, mistakes)
    if not isinstance(table, Mapping):
        return None
    absent = [key for key in NEEDED if key not in table]
    mistakes += (f"[{where}] {key} is needed" for key in absent)
    # What is absent or of the wrong type was told; stand-ins let the rest be checked.
    values = {key: value for key, value in _STAND_IN.items() if key in (*absent, *table)} | values
    return build(where, Grid, values | {"name": name}, mistakes)


_STUDY: dict[str, Reader] = {
    "name": text,
    "title": text,
    "command": text,
    "repeats": whole,
    "budget_s": number,
    "threads": whole,
    "seed": whole,
    "job_timeout_s": number,
}
_TEXTS = ("metric", "backend", "task", "data", "index", "device", "dtype", "storage")
_GRID: dict[str, Reader] = {
    item.name: number if item.name == "max_gib" else one_or_more(text if item.name in _TEXTS else whole)
    for item in fields(Grid)
    if item.name != "name"
}
_STAND_IN: dict[str, Any] = {
    "metric": ("l2",),
    "n": (1 << 30,),
    "d": (math.factorial(100),),  # a multiple of any m
    "backend": ("stand-in",),
    **dict.fromkeys(("nlist", "nprobe", "m", "ef_search", "clusters"), (1,)),
}

assert sorted([*_STUDY, "grids"]) == sorted(field_names(Study)), "every field of Study is readable from a study"
