"""Imported by every Python that has this folder on its path: notes from which file of ours each call goes to which.

A step is a call in another file than the call before it in the same thread. `TRIP` is the folder where each process
leaves its steps; notes are taken while there is a file `on` in it.
"""

import atexit
import functools
import os
import sys
import threading
import time
from pathlib import Path
from types import FrameType

PACKAGES = ("servers", "ragbench", "policies", "peers")
OUT = Path(os.environ["TRIP"])
ROOT = Path.cwd()
_is_on = (OUT / "on").exists()
_last: dict[int, str] = {}
_steps: list[tuple[str, str]] = []


def _note(frame: FrameType, event: str, _: object) -> None:
    if event != "call" or frame.f_code.co_name == "<module>" or not _is_on:
        return
    here, thread = _ours(frame.f_code.co_filename), threading.get_ident()
    if here is None:
        return
    before = _last.get(thread)
    if before not in (None, here):
        _steps.append((str(before), here))
    _last[thread] = here


@functools.cache
def _ours(name: str) -> str | None:
    path = Path(name)
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) and _package(path) in PACKAGES else None


def _package(path: Path) -> str:
    return path.relative_to(ROOT).parts[0]


def _write() -> None:
    lines = "".join(f"{a}\t{b}\n" for a, b in _steps.copy())
    if lines:
        (OUT / f"{os.getpid()}.steps").write_text(lines, encoding="utf-8")


def _watch() -> None:
    global _is_on
    while True:
        was_on, _is_on = _is_on, (OUT / "on").exists()
        if was_on and not _is_on:
            _write()
        time.sleep(0.05)


atexit.register(_write)
sys.setprofile(_note)
threading.setprofile(_note)
threading.Thread(target=_watch, daemon=True).start()
