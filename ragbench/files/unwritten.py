"""Files that cannot be written: a line with the name and the free space, and a copy elsewhere."""

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
_MIB = 2**20


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add `path` to an OSError that names no file, as that of a failed write."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def line_of(error: OSError) -> str | None:
    """The file, its error, and for a full disk the free space; None where the error is not about a file."""
    if error.filename is None and error.errno not in _OF_THE_DISK:
        return None
    file = Path(os.fsdecode(error.filename)) if error.filename is not None else None
    line = f"{file or 'a file'}: {error.strerror or error}"
    room = _room(file) if file is not None and error.errno in (errno.ENOSPC, errno.EDQUOT) else None
    return f"{line} ({room})" if room else line


def kept_elsewhere(error: OSError, write: Callable[[Path], object], *, what: str, into: Path) -> list[str]:
    """After `error`, let `write` write the measurement `what` to a new folder. -> lines for the user."""
    lines = [line_of(error) or str(error)]
    try:
        folder = Path(tempfile.mkdtemp(prefix="ragbench-kept-"))
    except OSError as second:
        return [*lines, f"{what} was measured and is lost: {second}"]
    try:
        write(folder)
    except OSError as second:
        shutil.rmtree(folder, ignore_errors=True)
        return [*lines, f"{what} was measured and is lost: {line_of(second) or second}"]
    again = f"make room, move it into {into}, and start the same command again"
    return [*lines, f"{what} was measured and is kept in {folder}: {again}"]


def _room(file: Path) -> str | None:
    there = next((place for place in (file.absolute(), *file.absolute().parents) if place.exists()), None)
    if there is None:
        return None
    disk = os.statvfs(there)
    free, whole = (blocks * disk.f_frsize / _MIB for blocks in (disk.f_bavail, disk.f_blocks))
    no_more = ", and no further file fits" if disk.f_files and not disk.f_favail else ""
    return f"{free:.1f} of {whole:.0f} MiB are free{no_more}"
