"""python -m servers.limit [flags]: how fast the pipeline is without a server, and how fast it could be.

These figures bound the throughput of every design. The flags are those of the designs and three more; `--out` writes a
row for each run, from which `ragbench simulate --times` takes its service times.
"""

import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pandas as pd
from pydantic import Field, PositiveInt

from servers.backend import Failure, run
from servers.engine import load_backend
from servers.rag.build import check_names
from servers.rag.corpus import facts
from servers.rag.models import ModelError
from servers.rag.pipeline import STAGES, Ask, Pipeline
from servers.settings import Settings, SettingsError, load

_FEWEST = 3  # runs of each size


class LimitSettings(Settings):
    """Settings beside those of the pipeline."""

    batch_sizes: list[PositiveInt] = Field([1, 2, 4, 8, 16, 32], min_length=1, description="batch sizes to time")
    duration_s: float = Field(3.0, gt=0, description="how long to time each size; three batches at least")
    out: Path | None = Field(None, description="CSV file for a row a run")


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
    if not isinstance(backend, Pipeline):
        print(f"limit: --profile {settings.profile} has no stages to time", file=sys.stderr)
        return 2
    questions = _questions(settings)
    runs = timed(backend, settings, questions).join(_floors(backend, settings, questions), on="batch_size")
    print(_table(runs).to_string(index=False))
    if settings.out is not None:
        _keep(settings.out, runs)
    return 0


def timed(backend: Pipeline, settings: LimitSettings, questions: Sequence[Ask]) -> pd.DataFrame:
    """Run each batch size once to warm up, and then in turns, so that drift of the machine affects all alike.

    A row a run: `batch_size`, `run` from 1, the seconds of each stage and in all. Raises ModelError if a run fails.
    """
    rng = Random(settings.seed)
    for size in settings.batch_sizes:
        run(backend, rng.choices(questions, k=size))
    rows: list[dict[str, float]] = []
    turn, until_s = 0, time.monotonic() + settings.duration_s * len(settings.batch_sizes)
    while turn < _FEWEST or time.monotonic() < until_s:
        turn += 1
        if sys.stderr.isatty():
            print(f"\rround {turn}", end="", file=sys.stderr, flush=True)
        for size in settings.batch_sizes:
            asks = rng.choices(questions, k=size)
            began_s = time.perf_counter()
            first = run(backend, asks)[0]
            total_s = time.perf_counter() - began_s
            if isinstance(first, Failure):
                raise ModelError(first.text)
            stages = {f"{stage}_s": first.stage_s[stage] for stage in STAGES}
            rows.append({"batch_size": size, "run": turn, **stages, "total_s": total_s})
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    return pd.DataFrame(rows)


def _questions(settings: LimitSettings) -> list[Ask]:
    """The questions of the harness."""
    asked = facts.questions(facts.facts(), 2000)
    return [Ask(question.query, 2, settings.max_new_tokens) for question in asked]


def _floors(backend: Pipeline, settings: LimitSettings, questions: Sequence[Ask]) -> pd.DataFrame:
    """The least seconds that this machine could take, by batch size and stage. Prints the machine's rates."""
    from servers.measure.roofline import Floors  # noqa: PLC0415  imports torch

    floors = Floors(backend)
    print(floors.describe(), flush=True)
    rng = Random(settings.seed)
    least = {size: floors.of(rng.choices(questions, k=size)) for size in settings.batch_sizes}
    return pd.DataFrame.from_dict(least, orient="index").add_suffix("_floor_s")


def _table(runs: pd.DataFrame) -> pd.DataFrame:
    """Medians by batch size in ms, with the floor's share of each."""
    medians = runs.groupby("batch_size", as_index=False).median()
    size, total_s = medians["batch_size"], medians["total_s"]
    table = pd.DataFrame({"batch": size})
    for stage in STAGES:
        pairs = zip(medians[f"{stage}_s"], medians[f"{stage}_floor_s"], strict=True)
        table[f"{stage} ms"] = [f"{took_s * 1e3:.2f} ({least_s / took_s:4.0%})" for took_s, least_s in pairs]
    table["total ms"] = (total_s * 1e3).round(2)
    table["requests/s"] = (size / total_s).round(1)
    table["at best"] = (size / medians.filter(like="_floor_s").sum(axis=1)).round().astype(int)
    return table


def _keep(path: Path, runs: pd.DataFrame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.tmp")
    runs.to_csv(aside, index=False, float_format="%.6f", lineterminator="\n")
    aside.replace(path)
    print(f"runs: {path}")


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)
