"""An HTTP answer of any wire: its headers as columns of a row, a refusal as a status."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

from ragbench.load.connection_errors import LONGEST_ERROR
from ragbench.results.records import Status

MOST_COUNTED = 2**53  # every whole number up to it is a float too, in which figures are computed
_LONGEST_S = 1e9
_STAGES = {"queue": "queue_s", "embed": "embed_s", "retrieve": "retrieve_s", "generate": "generate_s"}
_TIMING_ENTRY = re.compile(r'(?:[^,"]|"[^"]*")+')
_DESCRIPTION = re.compile(r'desc\s*=\s*"[^"]*"', re.IGNORECASE)
_NO_SUCH_PATH = (404, 405, 410)
_STATUS_OF_CODE: dict[int, Status] = {429: "rejected", 503: "rejected", 504: "timeout"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: status, headers by lower-case name, whole body; and which URL was asked, where that is known."""

    http_status: int
    headers: Mapping[str, str]
    body: bytes
    url: str | None = None


def read_headers(headers: Mapping[str, str]) -> dict[str, Any]:
    """Stage times in seconds, batch size and why it closed, replica; missing or malformed: None."""
    batch_size = headers.get("x-batch-size", "").strip()
    stages = server_timing(headers.get("server-timing", ""))
    return {
        **{column: stages.get(stage) for stage, column in _STAGES.items()},
        "batch_size": int(batch_size) if re.fullmatch(r"0*[1-9][0-9]{0,8}", batch_size) else None,
        "close_reason": headers.get("x-batch-close", "").strip()[:100] or None,
        "replica": headers.get("x-replica", "").strip()[:100] or None,
    }


def read_refusal(answer: Answer) -> dict[str, Any]:
    """The fields of a row of an answer that is not 200."""
    return {"status": _STATUS_OF_CODE.get(answer.http_status, "http_error"), "error": _refusal(answer)[:LONGEST_ERROR]}


def bad_answer(error: str) -> dict[str, Any]:
    """The fields of a row of a 200 that is no answer."""
    return {"status": "bad_answer", "error": error[:LONGEST_ERROR]}


def start_of(body: bytes) -> str:
    """The start of a body, to be shown."""
    return body[:LONGEST_ERROR].decode(errors="replace") or "(empty)"


def server_timing(header: str) -> dict[str, float]:
    """Server-Timing (W3C) -> seconds by name. Entries without a usable `dur` (ms) are left out.

    Where a name comes twice the first holds.
    `queue;dur=1.2, embed;desc="a, b";dur=0.5` -> {"queue": 0.0012, "embed": 0.0005}
    """
    found: dict[str, float] = {}
    for entry in _TIMING_ENTRY.findall(header):
        name, *parameters = (part.strip() for part in _DESCRIPTION.sub("", entry).split(";"))
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            seconds = _milliseconds(value)
            if key.strip().lower() == "dur" and seconds is not None:
                found.setdefault(name, seconds)
    return found


def _milliseconds(text: str) -> float | None:
    """Milliseconds as text -> seconds, or None."""
    try:
        seconds = float(text.strip().strip('"')) / 1000
    except ValueError:
        return None
    return seconds if 0 <= seconds <= _LONGEST_S else None


def _refusal(answer: Answer) -> str:
    """The error of an answer that is not 200: its redirect or its detail; for a wrong path with the URL."""
    code = answer.http_status
    moved_to = answer.headers.get("location") if 300 <= code < 400 else None
    if moved_to is not None:
        with suppress(ValueError):  # no URL
            moved_to = urljoin(answer.url or "", moved_to)
        return f"{code}: it redirects to {moved_to}"
    asked = f"POST {answer.url}: " if answer.url and code in _NO_SUCH_PATH else ""
    return f"{code}: {asked}{_detail(answer.body)}"


def _detail(body: bytes) -> str:
    """The `detail` of an error answer, or the start of its body."""
    with suppress(ValueError, RecursionError):
        content = json.loads(body)
        if isinstance(content, dict) and "detail" in content:
            return str(content["detail"])
    return start_of(body)
