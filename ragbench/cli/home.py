"""A temporary place for the caches of libraries where this user has no writable home folder."""

import atexit
import getpass
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, MutableMapping
from pathlib import Path

# Plots, notebooks and servers write these to the home folder.
_CACHES = {
    "MPLCONFIGDIR": "matplotlib",
    "IPYTHONDIR": "ipython",
    "CUPY_CACHE_DIR": "cupy",
    "TRITON_CACHE_DIR": "triton",
}


def settle(environment: MutableMapping[str, str] = os.environ) -> None:
    """Give every library a home in `environment`; where that takes a temporary one, print a line.

    Call it before matplotlib and jupyter are imported, which look once. The temporary home is deleted at exit.
    """
    home = os.path.expanduser("~")
    if (problem := home_problem(home)) is not None:
        try:
            scratch = Path(tempfile.mkdtemp(prefix="ragbench-home-"))
        except OSError as error:
            print(f"{problem}, and {error.strerror or error}", file=sys.stderr, flush=True)
            return
        atexit.register(shutil.rmtree, scratch, ignore_errors=True)
        environment.update(changes(environment, scratch, has_home=Path(home).is_dir()))
        print(f"{problem}: what libraries cache goes to {scratch} and is not kept", file=sys.stderr, flush=True)
    try:
        getpass.getuser()
    except (KeyError, OSError):  # no passwd entry, and no variable that names the user
        environment["USER"] = f"uid-{os.getuid()}"


def home_problem(home: str) -> str | None:
    """Why the home folder cannot be used, or None. A `home` that starts with ~ is not known."""
    if home.startswith("~"):
        return f"user {os.getuid()} has no home folder"
    if not Path(home).is_dir():
        return f"there is no home folder {home}"
    return None if os.access(home, os.W_OK | os.X_OK) else f"the home folder {home} cannot be written"


def changes(environment: Mapping[str, str], scratch: Path, *, has_home: bool) -> dict[str, str]:
    """The variables to set. A home that can be read stays: models and settings may lie there."""
    wanted = {name: str(scratch / folder) for name, folder in _CACHES.items() if not environment.get(name)}
    return wanted if has_home else wanted | {"HOME": str(scratch)}
