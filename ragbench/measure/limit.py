"""The throughput of a design against its own pipeline without a server, measured in turns. Runs nothing.

The bare pipeline is a command line that times batches of a size and writes a CSV row for each.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from statistics import median

from ragbench.files.csv_format import CsvFormat
from ragbench.files.csv_table import RecordError, read_frame
from ragbench.files.toml_tables import StudyError
from ragbench.study.points import Configuration
from ragbench.study.study import command_mistakes

_BATCH = "max_batch_size"
_GROUP = attrgetter("configuration", "users")


@dataclass(frozen=True, slots=True)
class Turn:
    """One seed: requests/s of the bare pipeline in batches of the design's cap, and of the design."""

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


def medians(turns: Sequence[Turn]) -> list[tuple[str, int, Turn]]:
    """(name, number of turns, their medians) of each design and number of users, in this order."""
    rows = []
    for (configuration, users), group in groupby(sorted(turns, key=_GROUP), key=_GROUP):
        each = list(group)
        bare, served = (median(map(attrgetter(name), each)) for name in ("bare_rps", "served_rps"))
        rows.append((f"{configuration}, {users} users", len(each), replace(each[0], bare_rps=bare, served_rps=served)))
    return rows
