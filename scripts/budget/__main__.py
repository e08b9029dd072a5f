"""Print what a request costs a server in CPU time: each process, and the front of our own designs by part.

`python scripts/budget batched|scaled` starts the server on a pipeline that only sleeps, loads it from this process, and
has the front sample itself by CPU time: so the figures hold on a busy machine. A peer (`mosec`, `litserve`, ...) has no
parts. `--checkout PATH` measures another version; `--functions N` prints the functions with the most samples.
"""

import argparse
import csv
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from ragbench.machine.hardware import this_machine  # noqa: E402
from scripts.budget import clients, figures, processes  # noqa: E402
from scripts.budget.parts import part_of  # noqa: E402

DESIGNS = ("batched", "scaled")
PEERS = ("echo", "fastapi", "litserve", "mosec", "ray")
WARM_UP_S = 1.0


def measured(given: argparse.Namespace, functions: Counter[tuple[str, str]]) -> figures.Start:
    """One start; the front's functions are added to `functions`, by part."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        command = processes.command_of(given.server, given.profile)
        with processes.started(command, checkout=given.checkout, out=out) as (pid, port):
            looks, first = [], figures.FRONT if given.server in DESIGNS else "main"

            def begin() -> None:
                looks.append(processes.cpu(pid, name=first))
                if given.server in DESIGNS:
                    os.kill(pid, signal.SIGUSR1)

            def end() -> None:
                if given.server in DESIGNS:
                    os.kill(pid, signal.SIGUSR2)
                looks.append(processes.cpu(pid, name=first))

            load = {"users": given.users, "warm_up_s": WARM_UP_S, "seconds": given.seconds}
            requests, lasted_s = clients.drive(port, **load, begin=begin, end=end)
            stacks = processes.sampled(out, pid) if given.server in DESIGNS else []
    by_part = [(part_of(stack), count) for count, stack in stacks]
    for (part, count), (_, stack) in zip(by_part, stacks, strict=True):
        functions[part, ":".join(stack[0]) if stack else ""] += count
    return figures.Start(requests, lasted_s, processes.used(*looks), figures.counted(by_part))


def table(rows: Sequence[figures.Row]) -> list[str]:
    """Lines to read: the parts of the front, then the processes."""
    parts = [row for row in rows if row.share is not None]
    lines = [f"{'us a request':20} {'mean':>7} {'lowest':>8} {'highest':>8} {'error':>7} {'share':>7} {'samples':>8}"]
    for row in parts:
        told = f"{row.us:7.1f} {row.low_us:8.1f} {row.high_us:8.1f} {row.standard_error_us:7.1f} {row.share:7.1%}"
        lines.append(f"{row.part:20} {told} {row.samples:8}")
    us = {(row.process, row.part): row for row in rows if row.share is None}
    lines = [*lines, ""] if parts else []
    lines.append(f"{'process':20} {'user':>7} {'kernel':>8} {'whole':>8} {'lowest':>7} {'highest':>8}")
    for name in dict.fromkeys(name for name, _ in us):
        user, kernel, whole = (us[name, part] for part in ("user", "kernel", "whole"))
        told = f"{user.us:7.1f} {kernel.us:8.1f} {whole.us:8.1f} {whole.low_us:7.1f} {whole.high_us:8.1f}"
        lines.append(f"{name:20} {told}")
    return lines


def page(given: argparse.Namespace, lines: Sequence[str]) -> str:
    """The table under where and how it was made."""
    command = f"python scripts/budget {given.server} --seconds {given.seconds:g} --users {given.users}"
    command += f" --profile {given.profile} --starts {given.starts}"
    where = f"`{command}`, on {this_machine()}; commit {_commit(given.checkout)}."
    return "\n".join([f"# What a request costs: {given.server}", "", where, "", "```", *lines, "```", ""])


def _commit(checkout: Path) -> str:
    """The commit, and whether anything but results has changed since."""

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", *arguments], cwd=checkout, capture_output=True, encoding="utf-8", check=False)

    told = git("describe", "--always").stdout.strip() or "unknown"
    return told if git("diff", "--quiet", "HEAD", "--", ".", ":!results").returncode == 0 else f"{told}-dirty"


def keep(path: Path, rows: Sequence[figures.Row], text: str) -> None:
    """Write the rows as CSV, and the page beside them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(figures.Row)], lineterminator="\n")
        writer.writeheader()
        for row in rows:
            values = asdict(row)
            writer.writerow(
                {key: f"{value:.5g}" if isinstance(value, float) else value for key, value in values.items()}
            )
    path.with_suffix(".md").write_text(text, encoding="utf-8")
    partial.rename(path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, keep."""
    flags = argparse.ArgumentParser(prog="python scripts/budget", description=__doc__.splitlines()[0])
    flags.add_argument("server", choices=[*DESIGNS, *PEERS])
    flags.add_argument("--seconds", type=float, default=6.0, help="of each start, after a warm-up of one")
    flags.add_argument("--users", type=int, default=64)
    flags.add_argument("--profile", default="stub")
    flags.add_argument("--starts", type=int, default=3)
    flags.add_argument("--checkout", type=Path, default=ROOT, help="folder of another version")
    flags.add_argument("--functions", type=int, default=0, help="print so many functions, by samples")
    flags.add_argument("--out", type=Path, help="write the rows to this CSV, and the page beside it")
    given = flags.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that the server is ended
    functions: Counter[tuple[str, str]] = Counter()
    starts = []
    for number in range(1, given.starts + 1):
        starts.append(measured(given, functions))
        rate = starts[-1].requests / starts[-1].seconds
        print(f"start {number} of {given.starts}: {rate:,.0f} requests/s", file=sys.stderr, flush=True)
    rows = figures.rows(given.server, starts)
    text = page(given, table(rows))
    print(text)
    for (part, function), count in functions.most_common(given.functions):
        print(f"{count:6} {part:16} {function}")
    if given.out is not None:
        keep(given.out, rows, text)


if __name__ == "__main__":
    main()
