"""Break the code in one place at a time and see whether the tests of its mirrored path notice.

`python scripts/mutants.py --count 150 --seed 1 [--checkout PATH]` draws places evenly from policies/, servers/ and
ragbench/, and runs for each the tests whose path mirrors that of the file: `tests/a/test_b.py` for `a/b.py`, else
`tests/test_a.py`, else the tests of `tests/a`. Works on a clone of what is committed. Undecided: a run that takes
longer than the limit, or whose tests fail without a mistake as well.
"""

import argparse
import ast
import csv
import functools
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("policies", "servers", "ragbench")
COMPARISONS = {ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "=="}
COMPARISONS |= {ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in"}
ARITHMETIC = {ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.FloorDiv: "*", ast.Mod: "*"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """`text` in place of what stands from `start` to `end`, offsets in bytes, in a file."""

    path: Path
    line: int
    start: int
    end: int
    text: str

    def applied(self, source: bytes) -> bytes:
        """The file with the mistake in it."""
        return source[: self.start] + self.text.encode() + source[self.end :]


def mutants(root: Path, path: Path) -> Iterator[Mutant]:
    """Every place of a file that can be broken, and how."""
    source = (root / path).read_bytes()
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))

    def replaced(node: ast.expr, text: str) -> Mutant:
        end = starts[(node.end_lineno or 1) - 1] + (node.end_col_offset or 0)
        return Mutant(path, node.lineno, starts[node.lineno - 1] + node.col_offset, end, text)

    tree = ast.parse(source)
    told = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in told or not isinstance(node, ast.expr):
            continue
        if (text := _broken(node)) is not None:
            yield replaced(node, text)


def _broken(node: ast.expr) -> str | None:
    """What stands there instead; None where nothing of it is broken."""
    text = None
    match node:
        case ast.Compare(left, [operator], [right]):
            text = f"({ast.unparse(left)} {COMPARISONS[type(operator)]} {ast.unparse(right)})"
        case ast.BoolOp(operator, values):
            word = " or " if isinstance(operator, ast.And) else " and "
            text = f"({word.join(f'({ast.unparse(value)})' for value in values)})"
        case ast.BinOp(left, operator, right) if type(operator) in ARITHMETIC and not isinstance(left, ast.Constant):
            text = f"(({ast.unparse(left)}) {ARITHMETIC[type(operator)]} ({ast.unparse(right)}))"
        case ast.UnaryOp(ast.Not(), operand):
            text = f"bool({ast.unparse(operand)})"
        case ast.IfExp(test, body, other):
            text = f"({ast.unparse(other)} if {ast.unparse(test)} else {ast.unparse(body)})"
        case ast.Constant(bool() as value):
            text = str(not value)
        case ast.Constant(int() | float() as value):
            text = repr(value + 1)
    return text


def drawn(root: Path, count: int, seed: int) -> list[Mutant]:
    """So many places, as many of each package."""
    rng = random.Random(seed)
    found: list[Mutant] = []
    for number, package in enumerate(PACKAGES):
        share = (count + number) // len(PACKAGES)
        paths = sorted(path.relative_to(root) for path in (root / package).rglob("*.py"))
        found += rng.sample([mutant for path in paths for mutant in mutants(root, path)], share)
    return found


def tests_of(root: Path, path: Path) -> Path:
    """The tests that mirror a file's path."""
    folder = Path("tests", path.parent)
    for own in (folder / f"test_{path.stem}.py", folder.with_name(f"test_{folder.name}.py")):
        if (root / own).exists():
            return own
    while not any((root / folder).glob("test_*.py")):
        folder = folder.parent
    return folder


def verdict(root: Path, mutant: Mutant, *, limit_s: float) -> str:
    """killed, survived, or undecided."""
    tests, source = tests_of(root, mutant.path), (root / mutant.path).read_bytes()
    if not _pass(root, tests, limit_s):
        return "undecided"
    (root / mutant.path).write_bytes(mutant.applied(source))
    try:
        return {True: "survived", False: "killed", None: "undecided"}[_run(root, tests, limit_s)]
    finally:
        (root / mutant.path).write_bytes(source)


@functools.cache
def _pass(root: Path, tests: Path, limit_s: float) -> bool:
    """Whether the tests pass, in time, without a mistake."""
    return _run(root, tests, limit_s) is True


def _run(root: Path, tests: Path, limit_s: float) -> bool | None:
    """Whether the tests pass; None where they take longer than the limit."""
    with subprocess.Popen(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", str(tests)],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as run:
        try:
            return run.wait(limit_s) == 0
        except subprocess.TimeoutExpired:
            return None
        finally:
            _end(run.pid)


def _end(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def main() -> None:
    """A line a mutant, then the shares; `--out` keeps the lines as CSV."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit-s", type=float, default=60.0)
    parser.add_argument("--checkout", type=Path, default=Path())
    parser.add_argument("--out", type=Path, default=Path("mutants.csv"))
    given = parser.parse_args()
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder, given.out.open("w", newline="", encoding="utf-8") as out:
        root = Path(folder, "copy")
        subprocess.run(["git", "clone", "-q", "--shared", str(given.checkout), str(root)], check=True)
        rows = csv.writer(out)
        rows.writerow(["path", "line", "text", "verdict"])
        chosen = drawn(root, given.count, given.seed)
        for number, mutant in enumerate(chosen, 1):
            result = verdict(root, mutant, limit_s=given.limit_s)
            counts[result] += 1
            rows.writerow([mutant.path, mutant.line, mutant.text, result])
            out.flush()
            print(f"[{number}/{len(chosen)}] {result:9} {mutant.path}:{mutant.line} {mutant.text[:80]}", flush=True)
    print(", ".join(f"{name} {count}" for name, count in counts.most_common()))


if __name__ == "__main__":
    main()
