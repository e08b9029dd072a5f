"""Results folders with something wrong in them, and the commands that read results, run in this process."""

import contextlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ragbench import __main__, plots
from ragbench.files.csv_table import read_columns, write_table
from ragbench.measure import sweep
from ragbench.report import tables
from ragbench.retrieval.results import load_results
from tests.ragbench.retrieval.test_retrieval_command import write_study as write_retrieval_study
from tests.ragbench.running import ragbench, write_study
from tests.ragbench.simulator.known import Noisy
from tests.ragbench.simulator.measured import write_measured

LOAD = 'arrivals = ["poisson"]\nrates = [100, 200]\nconcurrency = [2]\nrequests = 20\nready_timeout_s = 10.0'
INFO = {"design": "batched", "settings": {"max_batch_size": 8}}
CELLS = ("", "x", "nan", "inf", "-1", "1e308", "9" * 400, "0", "../../x")
VALUES = (
    None,
    True,
    -1,
    0,
    1e308,
    float("nan"),
    float("inf"),
    10**30,
    "x",
    "",
    "../../x",
    [],
    {},
    [[]],
    "step:x",
)


def measured(folder: Path) -> Path:
    """A study measured on the fake server, in `folder`/results, with two designs; and a retrieval study."""
    designs = "[designs.a]\ncommand = 'FAKE --replicas --scaling'\n[designs.b]\ncommand = 'FAKE'\n"
    study = write_study(folder, designs, load=LOAD)
    done = ragbench("run", study, "--results", folder / "results", "--no-report")
    assert done.returncode == 0, done.stderr
    for path in (folder / "results").glob("*/*/manifest.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"server_info": INFO}))
    retrieval = write_retrieval_study(folder)
    done = ragbench("retrieval", retrieval, "--results", folder / "results", "--no-report")
    assert done.returncode == 0, done.stderr
    write_measured(
        folder / "results" / "known",
        Noisy(0.006, 0.002),
        rates=(20, 60),
        duration_s=1.0,
        seeds=(1,),
        designs=("batched",),
    )
    return folder


def become_pipe(path: Path) -> None:
    """A pipe that nobody writes into."""
    path.unlink()
    os.mkfifo(path)


def become_folder(path: Path) -> None:
    """A folder of the name."""
    path.unlink()
    path.mkdir()


def become_link(path: Path) -> None:
    """A link to nothing."""
    path.unlink()
    path.symlink_to(path.parent / "nowhere" / "x")


def become_huge(path: Path) -> None:
    """Four TiB of nothing."""
    path.write_bytes(b"")
    os.truncate(path, 1 << 42)


KINDS: Mapping[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "rubbish": lambda path: path.write_bytes(bytes(range(256))),
    "of another type": lambda path: path.write_text("[]\n"),
    "nested": lambda path: path.write_text("[" * 100_000),
    "a folder": become_folder,
    "a pipe": become_pipe,
    "a link": become_link,
    "huge": become_huge,
}


def places(value: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to each part of a JSON document."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from places(each, (*path, key))


def change_json(path: Path, *, place: int, value: object) -> None:
    """Put `value` in one place of a document, or take that place away where it is Ellipsis."""
    document = {"whole": json.loads(path.read_text(encoding="utf-8"))}
    ways = list(places(document))[1:]
    *way, last = ways[place % len(ways)]
    holder = document
    for key in way:
        holder = holder[key]
    if value is ...:
        del holder[last]
    else:
        holder[last] = value
    path.write_text(json.dumps(document.get("whole")), encoding="utf-8")


def change_csv(path: Path, *, place: int, value: str) -> None:
    """Put `value` in one cell of a table; where there is no row, in its header."""
    found = read_columns(path)
    columns = list(found)
    rows = [list(cells) for cells in zip(*(column.cells for column in found.values()), strict=True)] or [columns]
    row, column = divmod(place % (len(rows) * len(columns)), len(columns))
    rows[row][column] = value or None
    path.write_text(write_table(columns, rows), encoding="utf-8")


def words(folder: Path) -> dict[str, tuple[object, ...]]:
    """The command lines that read the results in `folder`."""
    study, results = folder / "study.toml", folder / "results"
    return {
        "dry run": ("run", study, "--dry-run", "--results", results),
        "run": ("run", study, "--results", results, "--no-report", "--mixed"),
        "slo": ("report", results / "study", "--no-page", "--slo", "latency_p95_s=1"),
        "report": ("report", results / "study"),
        "compare": ("compare", f"{results / 'study'}:a", f"{results / 'study'}:b"),
        "answers": ("report", results / "study", "--answers"),
        "simulate": ("simulate", results / "known", "--out", folder / "out"),
        "retrieval": ("retrieval", folder / "mine.toml", "--results", results),
    }


def drawn(folder: Path) -> None:
    """What the notebook of a report reads of a study: its title, tables, and the figures that need rows."""
    study = plots.load_study(folder)
    assert study.title
    for name in ("distribution", "replicas"):
        plots.FIGURES[name](study)
    for table in (tables.reasons, tables.carried, tables.points, tables.summarised):
        table(study)


def drawn_searches(folder: Path) -> None:
    """What the notebook of a retrieval study does, but for its figures."""
    results = load_results(folder)
    assert results.title
    assert results.searches is not None


async def nothing(*arguments: object) -> None:
    """Measure nothing."""


@contextlib.contextmanager
def measuring_nothing() -> Iterator[None]:
    """Commands read what lies there and start nothing."""
    kept = {name: sys.modules.get(name) for name in ("ragbench.report.page", "ragbench.retrieval.report")}
    sys.modules["ragbench.report.page"] = SimpleNamespace(build=drawn)
    sys.modules["ragbench.retrieval.report"] = SimpleNamespace(build=drawn_searches)
    run_launch, sweep.run_launch = sweep.run_launch, nothing
    try:
        yield
    finally:
        sweep.run_launch = run_launch
        for name, module in kept.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def told_by(arguments: tuple[object, ...]) -> tuple[object, str]:
    """Run a command in this process. -> its exit code, and what it said on stderr"""
    argv, sys.argv = sys.argv, ["ragbench", *map(str, arguments)]
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            __main__.main()
    except SystemExit as end:
        return end.code or 0, said.getvalue()
    finally:
        sys.argv = argv
    return 0, said.getvalue()
