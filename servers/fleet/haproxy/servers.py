"""What HAProxy reports of a backend and its servers, from the text of its answers. Asks nothing.

`show servers state` has addresses, administrative states and weights; `show stat` has sessions and counters.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from servers.addresses import canonical

Place = tuple[str, int]
"""IP address and port."""
_MAINT, _DRAIN = 0x01 | 0x02 | 0x20, 0x08 | 0x10  # bits of srv_admin_state: forced, inherited, by resolution


class Refused(RuntimeError):
    """HAProxy answered with something else than what the command asks for; the message has both."""


@dataclass(frozen=True, slots=True)
class Server:
    """One server of a backend. `sessions`: requests that it has or that wait for it."""

    name: str
    place: Place
    state: Literal["ready", "drain", "maint"]
    weight: int
    sessions: int = 0


@dataclass(frozen=True, slots=True)
class Totals:
    """Counters of the backend since HAProxy started; `waiting`: requests that have no server yet."""

    requests: int
    retries: int
    waiting: int


def read_servers(backend: str, state: str, stat: str) -> list[Server]:
    """The servers, in the order of the configuration. Raises Refused."""
    rows = list(_state_rows(backend, state))
    sessions = {row["svname"]: _sum(row, "scur", "qcur") for row in _stat_rows(backend, stat)}
    found = []
    for row in rows:
        try:
            admin = int(row["srv_admin_state"])
            place = canonical(row["srv_addr"]), int(row["srv_port"])
            weight = int(row["srv_uweight"])
        except (KeyError, ValueError) as error:
            raise Refused(f"`{ask_state(backend)}` was answered without what is needed: {error}") from error
        kind: Literal["ready", "drain", "maint"] = "maint" if admin & _MAINT else "drain" if admin & _DRAIN else "ready"
        found.append(Server(row["srv_name"], place, kind, weight, sessions.get(row["srv_name"], 0)))
    return found


def read_totals(backend: str, stat: str) -> Totals:
    """The counters of the backend. Raises Refused."""
    for row in _stat_rows(backend, stat):
        if row["svname"] == "BACKEND":
            return Totals(_sum(row, "stot"), _sum(row, "wretr"), _sum(row, "qcur"))
    raise Refused(f"`{ask_stat(backend)}` was answered without a row of the backend")


def ask_state(backend: str) -> str:
    """The command whose answer has the state of each server."""
    return f"show servers state {backend}"


def ask_stat(backend: str) -> str:
    """The command whose answer has the counters of the backend (2) and of each server (4)."""
    return f"show stat {backend} 6 -1"


def _state_rows(backend: str, text: str) -> Iterator[dict[str, str]]:
    lines = text.strip().splitlines()
    if len(lines) < 2 or not lines[1].startswith("# "):  # a version, then the names
        raise Refused(f"`{ask_state(backend)}` was answered: {first_line(text)}")
    names = lines[1][2:].split()
    for line in lines[2:]:
        yield dict(zip(names, line.split(), strict=False))


def _stat_rows(backend: str, text: str) -> Iterator[dict[str, str]]:
    lines = text.strip().splitlines()
    if not lines or not lines[0].startswith("# pxname,svname,"):
        raise Refused(f"`{ask_stat(backend)}` was answered: {first_line(text)}")
    return csv.DictReader([lines[0].removeprefix("# "), *lines[1:]])


def _sum(row: dict[str, str], *names: str) -> int:
    """The sum of cells, of which an empty one is 0."""
    cells = [row.get(name) or "0" for name in names]
    return sum(int(cell) for cell in cells if cell.isdecimal())


def first_line(answer: str) -> str:
    """What an answer says, on one line."""
    return (answer.strip().splitlines() or ["nothing"])[0][:200]
