"""python -m servers.limit [flags]: how fast the pipeline is without a server, and how fast it could be.

These figures bound the throughput of every design. The flags are those of the designs and three more; `--out` writes a
row for each run, from which `ragbench simulate --times` takes its service times.
"""

import csv
import logging
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median

from pydantic import Field, PositiveInt

from servers.backend import Failure, run
from servers.engine import load_backend
from servers.rag.build import check_names
from servers.rag.corpus import facts
from servers.rag.models import ModelError
from servers.rag.pipeline import STAGES, Answered, Ask
from servers.rag.stepping import PipelineBackend
from servers.settings import Settings, SettingsError, load

COLUMNS = (
    "batch_size",
    "run",
    *(f"{stage}_s" for stage in STAGES),
    "total_s",
    *(f"{stage}_floor_s" for stage in STAGES),
)


class LimitSettings(Settings):
    """Settings beside those of the pipeline."""

    batch_sizes: list[PositiveInt] = Field([1, 2, 4, 8, 16, 32], min_length=1, description="batch sizes to time")
    duration_s: float = Field(3.0, gt=0, description="how long to time each size; three batches at least")
    out: Path | None = Field(None, description="CSV file for a row a run")


_FEWEST = 3


@dataclass(frozen=True, slots=True)
class Run:
    """One batch, in seconds."""

    batch_size: int
    stage_s: dict[str, float]
    total_s: float


def main(argv: Sequence[str] | None = None) -> int:
    """Time the pipeline, print and write the figures; the exit status."""
    try:
        settings = load(LimitSettings, sys.argv[1:] if argv is None else argv, prog="python -m servers.limit")
        check_names(settings)
        logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
        backend = load_backend(settings)
    except (SettingsError, ValueError, ModelError) as error:
        print(f"limit: {error}", file=sys.stderr)
        return 1 if isinstance(error, ModelError) else 2
    if not isinstance(backend, PipelineBackend):
        print(f"limit: --profile {settings.profile} has no stages to time", file=sys.stderr)
        return 2
    questions = _questions(settings)
    runs = timed(backend, settings, questions)
    floors = _floors(backend, settings, questions)
    _print_table(runs, floors)
    if settings.out is not None:
        _keep(settings.out, runs, floors)
    return 0


def timed(backend: PipelineBackend, settings: LimitSettings, questions: Sequence[Ask]) -> list[Run]:
    """Run each batch size once to warm up, and then in turns, so that drift of the machine affects all alike."""
    rng = Random(settings.seed)
    for size in settings.batch_sizes:
        run(backend, rng.choices(questions, k=size))
    runs: list[Run] = []
    sizes, until_s = len(settings.batch_sizes), time.monotonic() + settings.duration_s * len(settings.batch_sizes)
    while len(runs) < _FEWEST * sizes or time.monotonic() < until_s:
        if sys.stderr.isatty():
            print(f"\rround {len(runs) // sizes + 1}", end="", file=sys.stderr, flush=True)
        for size in settings.batch_sizes:
            asks = rng.choices(questions, k=size)
            began_s = time.perf_counter()
            answers = run(backend, asks)
            runs.append(Run(size, _stages(answers), time.perf_counter() - began_s))
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    return runs


def _stages(answers: Sequence[Answered | Failure]) -> dict[str, float]:
    """Seconds of each stage of a run. Raises ModelError if it failed."""
    first = answers[0]
    if isinstance(first, Failure):
        raise ModelError(first.text)
    return first.stage_s


def _questions(settings: LimitSettings) -> list[Ask]:
    """The questions of the harness."""
    asked = facts.questions(facts.facts(), 2000)
    return [Ask(question.query, 2, settings.max_new_tokens) for question in asked]


def _floors(backend: PipelineBackend, settings: LimitSettings, questions: Sequence[Ask]) -> dict[int, dict[str, float]]:
    """The least seconds that this machine could take, by batch size and stage. Prints the machine's rates."""
    from servers.measure.roofline import Floors  # noqa: PLC0415  imports torch

    floors = Floors(backend)
    print(floors.describe(), flush=True)
    rng = Random(settings.seed)
    return {size: floors.of(rng.choices(questions, k=size)) for size in settings.batch_sizes}


def _print_table(runs: Sequence[Run], floors: dict[int, dict[str, float]]) -> None:
    """Print medians in ms, with the floor's share of each."""
    print(
        f"{'batch':>6}"
        + "".join(f"{stage + ' ms':>18}" for stage in STAGES)
        + f"{'total ms':>12}{'requests/s':>12}{'at best':>10}"
    )
    for size, floor in floors.items():
        mine = [run for run in runs if run.batch_size == size]
        total_s = median(run.total_s for run in mine)
        cells = ""
        for stage in STAGES:
            stage_s = median(run.stage_s[stage] for run in mine)
            cells += f"{f'{stage_s * 1e3:.2f} ({floor[stage] / stage_s:4.0%})':>18}"
        print(f"{size:>6}{cells}{total_s * 1e3:>12.2f}{size / total_s:>12.1f}{size / sum(floor.values()):>10.0f}")


def _keep(path: Path, runs: Sequence[Run], floors: dict[int, dict[str, float]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.tmp")
    with aside.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        seen: dict[int, int] = {}
        for run in runs:
            seen[run.batch_size] = seen.get(run.batch_size, 0) + 1
            times = [run.stage_s[stage] for stage in STAGES]
            least = [floors[run.batch_size][stage] for stage in STAGES]
            cells = [f"{seconds:.6f}" for seconds in (*times, run.total_s, *least)]
            table.writerow([run.batch_size, seen[run.batch_size], *cells])
    aside.replace(path)
    print(f"runs: {path}")


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)
