"""Studies on the fake server, and the command line as a user calls it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
FAKE = Path(__file__).parent / "fakes" / "server.py"


def fake(mode: str = "normal", *flags: str) -> list[str]:
    """The command line of the fake server in one mode."""
    return [sys.executable, str(FAKE), "--mode", mode, *flags]


def write_questions(folder: Path, n: int = 40) -> Path:
    """Questions the fake server answers rightly."""
    path = folder / "questions.jsonl"
    lines = [
        json.dumps({"id": f"q{i}", "query": f"Say w{i}?", "answers": [f"w{i}"], "documents": [f"d-w{i}"]})
        for i in range(n)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_study(folder: Path, designs: str, *, load: str = "", name: str = "study") -> Path:
    """A study file over the fake server; `designs` is the TOML of its designs, `FAKE` in it is the fake's command."""
    load = load or 'arrivals = ["ideal"]\nrates = [200]\nrequests = 30\nready_timeout_s = 10.0'
    questions = write_questions(folder)
    path = folder / f"{name}.toml"
    path.write_text(
        f'[study]\nseeds = [1]\n[workload]\nquestions = "{questions}"\n[load]\nwarmup_requests = 2\n{load}\n'
        + designs.replace("FAKE", f"python {FAKE}")
    )
    return path


def ragbench(*arguments: object, deadline_s: float = 50.0) -> subprocess.CompletedProcess[str]:
    """`python -m ragbench ...` from the repository, with its output as text."""
    return subprocess.run(
        [sys.executable, "-m", "ragbench", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=deadline_s,
        check=False,
    )


def background(*arguments: object) -> subprocess.Popen[str]:
    """The same, left running."""
    return subprocess.Popen(
        [sys.executable, "-m", "ragbench", *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )


def fakes_alive(folder: Path) -> list[int]:
    """The fake servers that were started with `folder` among their arguments and still run."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if str(FAKE) in words and str(folder) in " ".join(words) and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process.pid)
    return found
