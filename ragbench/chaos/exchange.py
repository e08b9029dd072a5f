"""What became of one request: answered, rejected or lost. Pure; sends nothing."""

from dataclasses import dataclass
from typing import Literal

from ragbench.results.records import Row

Fate = Literal["answered", "rejected", "lost", "unsent"]


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request's row, and what of its question and answer the row does not keep.

    `right`: the only text that counts as right; None where any will do. `heard_id`, `retry_after_s`: of the answer.
    """

    row: Row
    sent_id: str
    right: str | None = None
    heard_id: str | None = None
    retry_after_s: float | None = None

    @property
    def fate(self) -> Fate:
        """One of the four; `unsent` is this client's own failure."""
        if self.row.sent_s is None:
            return "unsent"
        if self.row.status == "ok":
            return "answered" if self._is_right else "lost"
        return "rejected" if self._is_clear_refusal else "lost"

    @property
    def latency_s(self) -> float | None:
        """From when it was due until it was answered; None where it was not."""
        return self.row.latency_s if self.fate == "answered" else None

    @property
    def _is_right(self) -> bool:
        # A server that echoes no id is still held to the body.
        return self.heard_id in (None, self.sent_id) and self.right in (None, self.row.result)

    @property
    def _is_clear_refusal(self) -> bool:
        if self.row.http_status in (429, 503):
            return self.retry_after_s is not None
        return self.row.http_status == 504


def why_lost(exchange: Exchange) -> str:
    """The reason as a few words, so that equal reasons can be counted."""
    row = exchange.row
    if row.status == "ok":
        return "a wrong body" if exchange.heard_id in (None, exchange.sent_id) else "the answer to another request"
    if row.http_status in (429, 503):
        return f"{row.http_status} without Retry-After"
    if row.status == "timeout":
        return "no answer within the timeout"
    if row.status == "http_error":
        return f"status {row.http_status}"
    return {"connection_error": "no connection", "bad_answer": "no usable answer"}.get(row.status, row.status)
