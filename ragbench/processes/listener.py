"""The process of this machine that listens at an address. The CPU of a server counts as the server's own by it."""

from urllib.parse import urlsplit

import psutil

_HERE = ("127.0.0.1", "localhost", "::1", "0.0.0.0")  # noqa: S104  compared with, not bound to


def listener(url: str) -> int | None:
    """The id of the process that listens at `url`; None where it is on another machine or cannot be seen from here."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    if parts.hostname not in _HERE:
        return None
    try:
        sockets = psutil.net_connections(kind="tcp")
    except (psutil.Error, OSError):  # some systems show them to root alone
        return None
    listening = (s for s in sockets if s.status == psutil.CONN_LISTEN and s.laddr and s.laddr.port == port)
    # Workers share their parent's socket, and it was there first.
    return min((s.pid for s in listening if s.pid is not None), default=None)
