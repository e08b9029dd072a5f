"""Become a command that gets SIGTERM when its parent dies: `python -I -S tether.py PARENT_PID COMMAND...`.

Run between fork and exec of a server, so that a killed harness leaves none behind. Linux only; elsewhere it only execs.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Ask for SIGTERM on the parent's death, undo what Python did to the signals, and exec the command."""
    parent_pid, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent_pid:  # it died before the request took hold
            sys.exit(1)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execvp(command[0], command)  # noqa: S606  no shell is wanted


if __name__ == "__main__":
    main()
