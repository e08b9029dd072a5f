"""python scripts/tables.py NAME [--out FOLDER]: the tables that prove the statistics, made again.

growth, power, coverage, agreement, capacity: a file each in scripts/statistics/. Writes NAME.csv and NAME.md, with the
command, the commit and the machine, to results/reference-statistics unless told otherwise.
"""

import argparse
import importlib
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

import pandas as pd  # noqa: E402

from ragbench.machine.hardware import this_machine  # noqa: E402

TABLES = ("growth", "power", "coverage", "agreement", "capacity")


def main(arguments: Sequence[str] | None = None) -> None:
    """Make one table, print it, keep it."""
    flags = argparse.ArgumentParser(prog="python scripts/tables.py", description=__doc__.splitlines()[0])
    flags.add_argument("name", choices=TABLES)
    flags.add_argument("--out", type=Path, default=ROOT / "results" / "reference-statistics")
    options = flags.parse_args(arguments)
    made = importlib.import_module(f"statistics_tables.{options.name}")
    begun = time.monotonic()
    table = pd.DataFrame(made.rows(lambda line: print(line, file=sys.stderr, flush=True)))
    lasted_s = time.monotonic() - begun
    text = page(
        made.TITLE, table, made.notes(table), command=f"python scripts/tables.py {options.name}", lasted_s=lasted_s
    )
    print(text)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{options.name}.csv").write_text(table.to_csv(index=False, lineterminator="\n"), encoding="utf-8")
    (options.out / f"{options.name}.md").write_text(text, encoding="utf-8")


def page(title: str, table: pd.DataFrame, notes: Sequence[str], *, command: str, lasted_s: float) -> str:
    """The table in Markdown, under where and how it was made."""
    columns = [str(name) for name in table.columns]
    lines = [" | ".join(columns), " | ".join("---" for _ in columns)]
    lines += [" | ".join("" if pd.isna(cell) else str(cell) for cell in row) for row in table.itertuples(index=False)]
    where = f"`{command}`, {lasted_s / 60:.1f} min on {this_machine()}; commit {_commit()}."
    return "\n".join([f"# {title}", "", where, "", *(f"| {line} |" for line in lines), "", *notes, ""])


def _commit() -> str:
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, encoding="utf-8", check=False
    )
    return told.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
