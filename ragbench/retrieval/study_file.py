"""Retrieval study TOML -> Study. Valid values are defined in study.py."""

from collections.abc import Mapping
from dataclasses import field, fields
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator
from pydantic.dataclasses import dataclass

from ragbench.files.mistakes import checked, sentence
from ragbench.files.toml_tables import StudyError, read_toml
from ragbench.files.values import TABLE, Name
from ragbench.retrieval.study import Grid, Head, Study
from ragbench.study.study_file import with_name


def _not_empty(grids: object) -> object:
    if not isinstance(grids, Mapping) or not grids:
        raise sentence("[grids.NAME] is needed at least once, with metric, n, d and backend")
    return grids


@dataclass(frozen=True, slots=True, kw_only=True, config=TABLE)
class StudyFile:
    """The tables of a retrieval study file."""

    study: Head = field(default_factory=Head)
    """The study as a whole."""
    grids: Annotated[dict[Name, Grid], BeforeValidator(_not_empty)]
    """What is measured, by name."""


def load_study(path: Path) -> Study:
    """Read and check a study file. Raises StudyError holding every mistake in it."""
    tables = read_toml(path)
    if "designs" in tables and "grids" not in tables:
        raise StudyError([f"{path} is no retrieval study: ragbench run {path}"])
    try:
        file = checked(StudyFile, with_name({"grids": {}, **tables}, path.stem))
    except StudyError as error:
        raise StudyError(f"{path}: {mistake}" for mistake in error.mistakes) from error
    return Study(**{item.name: getattr(file.study, item.name) for item in fields(Head)}, grids=file.grids)
