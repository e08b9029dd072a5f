"""Print the structure of the packages: files and lines a folder, imports between folders, lengths of functions.

`make house`. Exits with 1 where a folder or a file is larger than the house allows; judges nothing else.
"""

import ast
import statistics
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("servers", "ragbench", "policies", "peers")
MOST_LINES = 300  # of a file
MOST_FILES = 14  # of a folder, beside its __init__.py
FREE = {"ragbench/cli"}  # one command a file
# Too large still. A test fails where one of them could be struck out.
KNOWN: set[str] = set()


def files() -> list[Path]:
    """Every Python file of the packages, as a path from the root."""
    return sorted(path.relative_to(ROOT) for name in PACKAGES for path in (ROOT / name).rglob("*.py"))


def folders(found: list[Path]) -> dict[str, list[Path]]:
    """The files of each folder."""
    return {
        folder: [path for path in found if path.parent.as_posix() == folder]
        for folder in sorted({path.parent.as_posix() for path in found})
    }


def lines(path: Path) -> int:
    """How many lines a file has."""
    return len((ROOT / path).read_text(encoding="utf-8").splitlines())


def arrows(found: list[Path]) -> Counter[tuple[str, str]]:
    """Imports from one folder to another, with how many files make them."""
    known = {".".join(path.with_suffix("").parts): path for path in found}
    rooms = {path.parent.as_posix() for path in found}
    counted: Counter[tuple[str, str]] = Counter()
    for path in found:
        here = path.parent.as_posix()
        there = {_room(name, known, rooms) for name in _imported(path)} - {None, here}
        counted.update((here, room) for room in there if room is not None)
    return counted


def functions(found: list[Path]) -> dict[str, int]:
    """Lines of each function, by where it stands."""
    return {
        f"{path}:{node.lineno} {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for path in found
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def crowded(found: list[Path]) -> set[str]:
    """Folders of more files than one may have."""
    counts = {folder: sum(path.name != "__init__.py" for path in own) for folder, own in folders(found).items()}
    return {folder for folder, count in counts.items() if count > MOST_FILES} - FREE


def long_files(found: list[Path]) -> set[str]:
    """Files of more lines than one may have."""
    return {path.as_posix() for path in found if lines(path) > MOST_LINES}


def too_large(found: list[Path]) -> set[str]:
    """Folders and files that the house does not allow."""
    return crowded(found) | long_files(found)


def main() -> int:
    """Print; the exit status."""
    found = files()
    print(f"{'folder':36} {'files':>5} {'lines':>6}")
    for folder, own in folders(found).items():
        print(f"{folder:36} {len(own):5} {sum(map(lines, own)):6}")
    print(f"{'all':36} {len(found):5} {sum(map(lines, found)):6}\n")
    for (here, there), count in sorted(arrows(found).items()):
        print(f"{here:36} -> {there:32} {count:3}")
    length = functions(found)
    longest = max(length, key=lambda name: length[name])
    print(
        f"\nfunctions: median {statistics.median(length.values()):g} lines, the longest {length[longest]} ({longest})"
    )
    for name in sorted(too_large(found)):
        print(f"too large{', known' if name in KNOWN else ''}: {name}")
    return 1 if too_large(found) - KNOWN else 0


def _tree(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _room(name: str, known: dict[str, Path], rooms: set[str]) -> str | None:
    """The folder of a module, or of the module that a name stands in; None where it is not ours."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        if (path := known.get(".".join(parts[:end]))) is not None:
            return path.parent.as_posix()
        if "/".join(parts[:end]) in rooms:
            return "/".join(parts[:end])
    return None


if __name__ == "__main__":
    sys.exit(main())
