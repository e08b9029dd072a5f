"""Print what the start of a server costs: its CPU seconds until it is ready, and which imports they go to.

`python scripts/start.py [batched --profile tiny …]`; an import counts with all that it is the first to import.
"""

import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

SHOWN = 15
LEAST_MS = 40.0
_LINE = re.compile(r"import time: +(?P<own>\d+) \| +(?P<all>\d+) \| (?P<name> *\S+)")


def started(design: Sequence[str], log: Path | None = None) -> tuple[float, float]:
    """Start it, wait until it is ready, end it. -> CPU seconds of it and its children, and seconds by the clock."""
    before, began_s = _children_cpu_s(), time.monotonic()
    environment = os.environ | ({"PYTHONPROFILEIMPORTTIME": "1"} if log else {})
    with subprocess.Popen(
        [sys.executable, "-m", "servers", *design, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=log.open("wb") if log else None,
        env=environment,
    ) as server:
        if server.stdout is None or not server.stdout.readline():
            raise SystemExit(f"the server ended before it was ready: python -m servers {' '.join(design)}")
        wall_s = time.monotonic() - began_s
        server.send_signal(signal.SIGTERM)
    return _children_cpu_s() - before, wall_s


def imports(log: Path) -> list[tuple[float, str]]:
    """(ms, name) of each import, with all that it was the first to import, in the server and in its engine."""
    found = [_LINE.fullmatch(line) for line in log.read_text(encoding="utf-8").splitlines()]
    outermost = [(int(each["all"]) / 1000, each["name"].strip()) for each in found if each and _depth(each) <= 1]
    return sorted((each for each in outermost if each[0] >= LEAST_MS), reverse=True)


def _depth(line: re.Match[str]) -> int:
    return (len(line["name"]) - len(line["name"].lstrip())) // 2


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Three starts, then one that lists its imports."""
    design = sys.argv[1:] or ["batched"]
    for _ in range(3):
        cpu_s, wall_s = started(design)
        print(f"{' '.join(design)}: {cpu_s:.2f} s of CPU, ready after {wall_s:.2f} s")
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "imports")
        started(design, log)
        for ms, name in imports(log)[:SHOWN]:
            print(f"{ms:7.0f} ms  {name}")


if __name__ == "__main__":
    main()
