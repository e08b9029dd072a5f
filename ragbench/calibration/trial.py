"""One load on a calibration server, measured as any point is. Judges nothing."""

import sys
import tempfile
from pathlib import Path
from typing import Any

from ragbench.load.descriptors import allow_files
from ragbench.measure.point import Measurement, measure
from ragbench.processes.launch import start
from ragbench.study.points import expand
from ragbench.study.questions import Question, QuestionSet
from ragbench.study.study_file import parse_study

_QUESTIONS = QuestionSet((Question("calibration", "Which animals can hover in the air?"),), sha256="none")
_WARMUP_REQUESTS = 4
_SERVER = f"python -m ragbench.calibration.server --warmup-requests {_WARMUP_REQUESTS}"


async def measured(
    flags: str, *, arrival: str = "ideal", rate: float | None = None, seed: int = 1, **load: Any
) -> Measurement:
    """Start the server with `flags`, put one load on it, stop it. `load`: keys of a study's [load] table."""
    open_loop = {"arrivals": [arrival], "rates": [rate]} if rate is not None else {}
    study = parse_study(
        {
            "study": {"seeds": [seed]},
            "load": {"warmup_requests": _WARMUP_REQUESTS, "timeout_s": 20.0, **open_loop, **load},
            "workload": {"same_answers": True},
            "designs": {"calibration": {"command": f"{_SERVER} {flags}"}},
        },
        default_name="calibration",
    )
    point = expand(study)[0].points[0]
    allow_files([point])
    argv = point.configuration.argv(sys.executable)
    with tempfile.TemporaryDirectory(prefix="ragbench-calibrate-") as scratch:
        server = await start(argv, log=Path(scratch) / "server.log", ready_timeout_s=point.load.ready_timeout_s)
        try:
            return await measure(point, server, _QUESTIONS)
        finally:
            await server.stop()
