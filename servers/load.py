"""A replica's own load on its answers: `X-Load: outstanding=3;wait_s=0.120`. No probe is needed to know it."""

import re
from typing import NamedTuple

__all__ = ["LOAD", "Told", "read_load", "told_load"]

LOAD = "X-Load"
_FORM = re.compile(r"outstanding=(\d{1,9})(?:;wait_s=(\d{1,9}\.\d{1,6}))?")


class Told(NamedTuple):
    """Requests that are at a server, whoever sent them, and seconds until one more would be answered, where known."""

    outstanding: int
    wait_s: float | None


def told_load(outstanding: int, wait_s: float | None) -> str:
    """The header's value."""
    return f"outstanding={outstanding}" + ("" if wait_s is None else f";wait_s={wait_s:.3f}")


def read_load(header: str | None) -> Told | None:
    """What a header says; None where it says nothing that can be read."""
    found = _FORM.fullmatch(header or "")
    return None if found is None else Told(int(found[1]), None if found[2] is None else float(found[2]))
