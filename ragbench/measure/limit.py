"""How near a design comes to its own pipeline with no server round it: both measured in turns, then compared.

Knows the bare pipeline by its command line, which times batches of a size and writes a CSV row for each; runs nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from ragbench.files.csv_format import CsvFormat
from ragbench.files.csv_table import RecordError, read_frame
from ragbench.files.toml_tables import StudyError
from ragbench.study.points import Configuration
from ragbench.study.study import command_mistakes

_BATCH = "max_batch_size"


@dataclass(frozen=True, slots=True)
class Turn:
    """One seed: requests/s of the bare pipeline in batches of the design's cap, and what the design answered then."""

    configuration: str
    max_batch_size: int
    users: int
    seed: int
    bare_rps: float
    served_rps: float

    @property
    def ratio(self) -> float:
        """1 where the server costs nothing."""
        return self.served_rps / self.bare_rps


LIMIT = CsvFormat(Turn, reals={"bare_rps": ".2f", "served_rps": ".2f", "ratio": ".4f"}, also=("ratio",))


def bare_argv(bare: str, configuration: Configuration, *, duration_s: float, out: Path, python: str) -> list[str]:
    """The command that times the pipeline of `design`, in batches as large as it takes. Raises StudyError."""
    if mistakes := command_mistakes(bare):
        raise StudyError(f"--bare: {mistake}" for mistake in mistakes)
    size = configuration.settings.get(_BATCH)
    if not isinstance(size, int):
        raise StudyError([f"settings of {configuration.name}: {_BATCH} is needed, for the bare pipeline's batches"])
    settings = {name: value for name, value in configuration.settings.items() if name != _BATCH}
    words = Configuration(configuration.design, settings, command=bare).argv(python)
    return [*words, "--batch-sizes", f"[{size}]", "--duration-s", repr(duration_s), "--out", str(out)]


def bare_rps(path: Path) -> float:
    """Requests/s over all runs of the file that the bare command wrote. Raises RecordError."""
    table = read_frame(path, {"batch_size": "count", "total_s": "real"}, needed=("batch_size", "total_s"))
    requests, length_s = float(table["batch_size"].sum()), float(table["total_s"].sum())
    if not (requests > 0 and length_s > 0):
        raise RecordError(f"{path}: no run of it took any time, or none had any request")
    return requests / length_s


@dataclass(frozen=True, slots=True)
class Medians:
    """Over the turns of a design; `ratio` is that of the two medians."""

    configuration: str
    turns: int
    bare_rps: float
    served_rps: float

    @property
    def ratio(self) -> float:
        """1 where the server costs nothing."""
        return self.served_rps / self.bare_rps


def medians(turns: Sequence[Turn]) -> list[Medians]:
    """One a design and number of users, in order of appearance."""
    names = dict.fromkeys((turn.configuration, turn.users) for turn in turns)
    found = []
    for configuration, users in names:
        mine = [turn for turn in turns if (turn.configuration, turn.users) == (configuration, users)]
        bare, served = (median(getattr(turn, name) for turn in mine) for name in ("bare_rps", "served_rps"))
        found.append(Medians(f"{configuration}, {users} users", len(mine), bare, served))
    return found
