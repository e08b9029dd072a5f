"""Count the steps between files, and between folders, that a question and a rate take through the code.

`python scripts/trip question` asks a `batched` server once; `python scripts/trip rate` runs a study of one rate, from
its file to its figures. `--checkout PATH` counts those of another version. A rate passes by the same places again and
again, so different steps are counted as well.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

STUDY = """
[study]
title = "One rate"
seeds = [1]
[workload]
questions = "facts"
[load]
arrivals = ["poisson"]
rates = [40]
duration_s = 2.0
[designs.batched]
command = "python -m servers batched"
settings = { profile = "stub" }
"""


def question(checkout: Path, out: Path) -> None:
    """One question to a server that has answered two."""
    command = [sys.executable, "-m", "servers", "batched", "--engine", "thread", "--port", "0"]
    with subprocess.Popen(
        command, cwd=checkout, env=_environment(out, checkout), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as server:
        try:
            ready = json.loads(server.stdout.readline() if server.stdout else b"")
            for _ in range(2):
                _ask(ready["port"])
            time.sleep(1)  # until nothing that was begun goes on
            (out / "on").touch()
            time.sleep(0.2)  # until the server has seen it
            _ask(ready["port"])
            (out / "on").unlink()
            time.sleep(0.5)
        finally:
            server.terminate()


def rate(checkout: Path, out: Path) -> None:
    """`ragbench run` of one point, with its report."""
    (out / "on").touch()
    (out / "trip.toml").write_text(STUDY, encoding="utf-8")
    command = [sys.executable, "-m", "ragbench", "run", str(out / "trip.toml"), "--report", "--results", str(out)]
    subprocess.run(command, cwd=checkout, env=_environment(out, checkout), check=True, capture_output=True)
    shutil.rmtree(out / "trip")


def counted(out: Path, *, by_folder: bool) -> tuple[int, int, int]:
    """Steps, different steps, and places entered."""
    lines = [line.split("\t") for path in out.glob("*.steps") for line in path.read_text(encoding="utf-8").splitlines()]
    steps = [(str(Path(a).parent), str(Path(b).parent)) if by_folder else (a, b) for a, b in lines]
    steps = [(a, b) for a, b in steps if a != b]
    return len(steps), len(set(steps)), len({place for step in steps for place in step})


def _ask(port: int) -> None:
    body = json.dumps({"query": "Where was Mira Toven born?"}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/rag", body, headers)
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        answer.read()


def _environment(out: Path, checkout: Path) -> dict[str, str]:
    here = str(Path(__file__).resolve().parent)
    return os.environ | {"TRIP": str(out), "PYTHONPATH": os.pathsep.join([here, str(checkout.resolve())])}


def main() -> None:
    """Print a line by file and one by folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trip", choices=["question", "rate"])
    parser.add_argument("--checkout", type=Path, default=Path())
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        {"question": question, "rate": rate}[given.trip](given.checkout, Path(folder))
        for name, by_folder in (("files", False), ("folders", True)):
            steps, different, places = counted(Path(folder), by_folder=by_folder)
            print(f"{given.trip}: {steps} steps between {name}, {different} different ones, {places} {name} entered")


if __name__ == "__main__":
    main()
