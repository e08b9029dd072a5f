"""python -m servers.retrieval JOB.json: measure a job; rows and progress are lines of JSON on stdout.

With --rates instead of a job: bytes copied and operations per second of each device.
"""

import argparse
import json
import logging
import os
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from servers.measure.retrieval.job import Job, JobError, read


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 2 for a bad job, 1 where memory ran out."""
    parser = argparse.ArgumentParser(prog="python -m servers.retrieval", description="Retrieval by itself, measured.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("job", nargs="?", type=Path, metavar="JOB", help="a job, as JSON (ragbench retrieval makes them)")
    what.add_argument("--rates", action="store_true", help="what each device copies and multiplies in a second")
    parser.add_argument("--threads", type=int, help="with --rates: of the CPU; one for each core unless given")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    try:
        if options.rates:
            _print_rates(options.threads)
        else:
            _measure(read(options.job))
    except JobError as error:
        print(f"retrieval: {error}", file=sys.stderr)
        return 2
    except MemoryError as error:
        print(f"retrieval: out of memory ({error}); raise memory_mib, or make the job smaller", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _measure(job: Job) -> None:
    _limit_threads(job.threads)
    from servers.measure.retrieval.rows import measured  # noqa: PLC0415  after the threads are set
    from servers.measure.retrieval.timing import load_libraries  # noqa: PLC0415

    if job.memory_mib is not None:
        load_libraries(job)  # OpenBLAS crashes where it finds no memory while it is loaded
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (job.memory_mib << 20, hard))
    for row in measured(job, lambda text: _print({"progress": text})):
        _print({"row": row})


def _print_rates(threads: int | None) -> None:
    _limit_threads(threads)
    import torch  # noqa: PLC0415

    from servers.measure.retrieval.roofline import Rates  # noqa: PLC0415
    from servers.rag.retrieval import Place  # noqa: PLC0415

    devices = [("cpu", "float32")]
    if torch.cuda.is_available():
        devices += [("cuda", "float32"), ("cuda", "float16")]
    for device, dtype in devices:
        rates = Rates(device, Place(threads=threads).workers, dtype)
        for _ in range(5):
            rates.turn()
        _print({"rates": rates.as_dict()})


def _limit_threads(threads: int | None) -> None:
    """Set the number of threads of every library that starts its own, loaded now or later."""
    if threads is None:
        return
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)
    import numpy  # noqa: PLC0415, F401
    from threadpoolctl import threadpool_limits  # noqa: PLC0415

    threadpool_limits(threads)


def _print(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    sys.exit(main())
