"""What a point's manifest must hold so that figures can be computed of it: names, types, sizes. Reads no file.

Anybody may have written it. What it means is decided by whoever reads it.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ragbench.files.csv_format import LARGEST
from ragbench.results.metrics import METRICS, SOURCES, VERDICTS
from ragbench.results.slo import Slo

__all__ = ["NEEDED", "is_plain_name", "manifest_mistake"]

NEEDED = ("name", "design", "settings", "arrival", "offered_rps", "seed")  # of its point
_LARGEST_SETTING = 1e300
_LONGEST_SHOWN = 60
_NO_NAME = re.compile(r"[/\0\n]|\A\.{0,2}\Z")


def is_plain_name(name: object) -> bool:
    """Whether `name` can be that of a file in a folder, and leads nowhere else."""
    return isinstance(name, str) and not _NO_NAME.search(name)


def manifest_mistake(manifest: Mapping[str, Any], *, folder: str) -> str | None:
    """The first thing wrong with the manifest of the point in `folder`; None where it can be used."""
    return next(_mistakes(manifest, folder), None)


def _mistakes(manifest: Mapping[str, Any], folder: str) -> Iterator[str]:
    yield from _wrong("", manifest, {"point": _TABLE, "summary": _TABLE})
    point, summary = manifest["point"], manifest["summary"]
    if point["name"] != folder:
        yield f"its point is called {_shown(point['name'])}, and its folder {_shown(folder)}"
    yield from _wrong("point.", point, _POINT)
    if (point["offered_rps"] is None) == (point.get("concurrency") is None):
        yield "its point must have either offered_rps or concurrency"
    if "verdict" not in summary:
        yield "its summary has no verdict"
    yield from _wrong("summary.", summary, {name: _cell(name) for name in summary} | _SUMMARY)
    for name in ("design", "configuration", "arrival"):
        if summary.get(name, point.get(name)) != point.get(name):
            yield f"summary.{name} is {_shown(summary[name])}, and point.{name} {_shown(point.get(name))}"
    if summary.get("point", folder) != folder:
        yield f"summary.point is {_shown(summary['point'])}, and its folder {_shown(folder)}"
    yield from _wrong("", manifest, _TOP)
    yield from _wrong("hardware.", manifest.get("hardware") or {}, {"cores": _NUMBER, "hostname": _TEXT})
    for where, limits in (("slo", manifest.get("slo")), ("point.slo", point.get("slo"))):
        if (mistake := _slo_mistake(limits)) is not None:
            yield f"{where}: {mistake}"


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a value may be, and in words."""

    holds: Callable[[object], bool]
    wanted: str

    @property
    def or_none(self) -> "_Kind":
        """The same, or nothing."""
        return _Kind(lambda value: value is None or self.holds(value), f"{self.wanted}, or null")


def _wrong(where: str, table: Mapping[str, Any], kinds: Mapping[str, _Kind]) -> Iterator[str]:
    for name, kind in kinds.items():
        if name in table and not kind.holds(table[name]):
            yield f"{where}{name} must be {kind.wanted}, got {_shown(table[name])}"


def _cell(column: str) -> _Kind:
    """What a figure may be; one that METRICS does not know is a number."""
    return _CELLS[METRICS[column].kind if column in METRICS else "real"]


def _slo_mistake(limits: Any) -> str | None:
    try:
        Slo.of(limits or {"latency_s": 1.0})
    except (AttributeError, ValueError) as error:
        return str(error) if isinstance(error, ValueError) else f"must be a table, got {_shown(limits)}"
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) <= _LARGEST_SETTING


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and _is_number(value)


def _is_seed(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _are_settings(value: object) -> bool:
    """A server may have settings of any size; what they are is a label."""
    return isinstance(value, dict) and all(isinstance(each, str) or _is_finite(each) for each in value.values())


def _shown(value: object) -> str:
    """A value that a stranger chose: in one line, and not all of a long one."""
    text = ascii(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


_TABLE = _Kind(lambda value: isinstance(value, dict), "a table")
_TEXT = _Kind(lambda value: isinstance(value, str), "text").or_none
_NUMBER = _Kind(_is_number, f"a number up to {LARGEST:g}").or_none
_POSITIVE = _Kind(lambda value: _is_number(value) and value > 0, f"a number above 0, up to {LARGEST:g}").or_none  # type: ignore[operator]
_COUNT = _Kind(lambda value: _is_whole(value) and value >= 1, "a whole number from 1 on").or_none  # type: ignore[operator]
_WHOLE = _Kind(_is_whole, "a whole number").or_none
_TRUTH = _Kind(lambda value: isinstance(value, bool), "true or false").or_none
_SEED = _Kind(_is_seed, "a whole number from 0 on")
_CELLS = {"text": _TEXT, "count": _WHOLE, "whole": _WHOLE, "truth": _TRUTH, "real": _NUMBER}
_POINT = {
    "design": _Kind(lambda value: isinstance(value, str), "text"),
    "configuration": _TEXT,
    "settings": _Kind(_are_settings, "a table of texts, numbers and truths"),
    "arrival": _Kind(lambda value: isinstance(value, str), "text"),
    "offered_rps": _POSITIVE,
    "concurrency": _COUNT,
    "seed": _SEED,
    "duration_s": _POSITIVE,
    "requests": _COUNT,
    "timeout_s": _Kind(lambda value: _is_finite(value) and value > 0, "a number above 0"),  # type: ignore[operator]
}
_SUMMARY = {
    "seed": _SEED,
    "verdict": _Kind(lambda value: value in VERDICTS, f"one of {', '.join(VERDICTS)}"),
    "source": _Kind(lambda value: value in SOURCES, f"one of {', '.join(SOURCES)}").or_none,
}
_TOP = {
    "slo": _TABLE.or_none,
    "same_answers": _TRUTH,
    "git_commit": _TEXT,
    "code_sha256": _TEXT,
    "schedule_sha256": _TEXT,
    "hardware": _TABLE.or_none,
    "server_info": _TABLE.or_none,
}
