"""A TOML file as tables. What may stand in them is decided by who reads them."""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ragbench.files.text_file import read_text

Table = Mapping[str, Any]


class StudyError(ValueError):
    """A study cannot be used. `mistakes` holds every reason found, one line each."""

    def __init__(self, mistakes: Iterable[str]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("; ".join(self.mistakes))


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
