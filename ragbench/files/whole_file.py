"""Write a file whole or not at all, and never through a link, into a device or into a pipe that lies in its place.

A results folder may have been filled by anybody. What is written is decided elsewhere.
"""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from ragbench.files.csv_table import RecordError
from ragbench.files.unwritten import naming

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_MORE = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK


def write_whole(path: Path, content: bytes) -> None:
    """Write it under a temporary name and rename that, so that `path` is either old or whole. OSErrors name it."""
    temporary = path.with_name(f".{path.name}.partial")
    try:
        with naming(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_new(temporary, content)
            os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        if error.filename2 is not None:  # of the rename, where the second is what could not be replaced
            error.filename, error.filename2 = str(path), None
        raise


def write_new(path: Path, content: bytes = b"") -> None:
    """Write a new file in place of whatever file or link has the name, and to the disk. Raises OSError."""
    path.unlink(missing_ok=True)
    with open(path, "wb", opener=lambda name, _: os.open(name, _NEW, 0o666)) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def append_to(path: Path) -> BinaryIO:
    """A regular file opened to be appended to, made where there is none. Raises OSError, also where it is no file."""
    try:
        descriptor = os.open(path, _MORE, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            error.strerror = "it is a symbolic link, and is not written through"
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return os.fdopen(descriptor, "ab")


def refuse_links(folder: Path) -> None:
    """Raise RecordError where a folder in a results folder is a link: what is written there would land elsewhere."""
    with suppress(FileNotFoundError):
        for inner in sorted(folder.iterdir()):
            if not inner.is_file():
                refuse_link(inner)


def refuse_link(folder: Path) -> None:
    """Raise RecordError where a folder that will be written to is a symbolic link."""
    if folder.is_symlink():
        raise RecordError(
            f"{folder} is a symbolic link to {os.readlink(folder)}, and nothing is written through it: "
            "put a folder in its place"
        )
