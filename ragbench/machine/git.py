"""The git commit of a file, or why it is not known. Changes no repository."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ragbench.results.paths import PACKAGE

_TIMEOUT_S = 10.0
# Of a caller that runs inside another repository, such as a hook.
_FOREIGN = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_OBJECT_DIRECTORY")
# A checkout may belong to another user, as in containers. With its monitor off, nothing of it is run to read it.
_SAFE = ("-c", "safe.directory=*", "-c", "core.fsmonitor=false")


@dataclass(frozen=True, slots=True)
class Origin:
    """The commit of a file's repository, and whether anything there differs from it. None: the file is of no commit.

    `problem`: why that is not known, in a line, where there is a repository. `is_tracked`: whether git knows the file.
    """

    repository: Path | None = None
    commit: str | None = None
    dirty: bool | None = None
    problem: str | None = None
    is_tracked: bool = False


def code_origin() -> Origin:
    """Of the code that runs. Installed code is of no commit, even where the environment lies inside a repository."""
    origin = origin_of(PACKAGE / "__init__.py")
    return origin if origin.is_tracked else Origin(problem=origin.problem)


def study_origin(study: Path, code: Origin) -> Origin:
    """Of a study file that lies in another repository than the code; else of no commit."""
    origin = origin_of(study)
    if origin.repository is None or origin.repository == code.repository:
        return Origin(problem=origin.problem if origin.problem != code.problem else None)
    return origin if origin.is_tracked else replace(origin, dirty=True)


def origin_of(file: Path) -> Origin:
    """Of any file, whether it is part of the commit or not."""
    file = file.resolve()
    if not any((place / ".git").exists() for place in file.parents):
        return Origin()
    try:
        top, commit = _git(file.parent, "rev-parse", "--show-toplevel", "HEAD").splitlines()
        is_dirty = bool(_git(file.parent, "status", "--porcelain"))
        is_tracked = bool(_git(file.parent, "ls-files", "--", file.name))
        return Origin(Path(top), commit, is_dirty, is_tracked=is_tracked)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return Origin(problem=f"no commit of {file.parent} is recorded: {_reason(error)}")


def _git(folder: Path, *words: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    argv: Sequence[str] = ["git", *_SAFE, "-C", str(folder), *words]
    done = subprocess.run(
        argv,
        env=environment | {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=_TIMEOUT_S,
        check=True,
    )
    return done.stdout.strip()


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no git on PATH"
    if isinstance(error, subprocess.CalledProcessError):
        return next(iter(str(error.stderr).strip().splitlines()), f"git ended with status {error.returncode}")
    if isinstance(error, subprocess.TimeoutExpired):
        return f"git was not done after {_TIMEOUT_S:g} s"
    return str(error)
