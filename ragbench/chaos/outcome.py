"""What became of each request of an experiment, and how many ended how. Pure; columns are explained in __init__.py."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ragbench.results.records import Row

Fate = Literal["answered", "rejected", "lost", "unsent"]
LONGEST_RECOVERY_S = 10.0


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
            is_right = self.has_own_id and self.right in (None, self.row.result)
            return "answered" if is_right else "lost"
        is_clear_refusal = self.row.http_status == 504 or (
            self.row.http_status in (429, 503) and self.retry_after_s is not None
        )
        return "rejected" if is_clear_refusal else "lost"

    @property
    def has_own_id(self) -> bool:
        """Whether the answer is to this request; a server that echoes no id is still held to the body."""
        return self.heard_id in (None, self.sent_id)

    @property
    def latency_s(self) -> float | None:
        """From when it was due until it was answered; None where it was not."""
        return self.row.latency_s if self.fate == "answered" else None


def why_lost(exchange: Exchange) -> str:
    """The reason as a few words, so that equal reasons can be counted."""
    row = exchange.row
    if row.status == "ok":
        return "a wrong body" if exchange.has_own_id else "the answer to another request"
    if row.http_status in (429, 503):
        return f"{row.http_status} without Retry-After"
    words = {
        "timeout": "no answer within the timeout",
        "http_error": f"status {row.http_status}",
        "connection_error": "no connection",
        "bad_answer": "no usable answer",
    }
    return words.get(row.status, row.status)


@dataclass(frozen=True, slots=True)
class Tally:
    """The fields but the last three are the columns of chaos.csv, in order. None: not known, or not applicable.

    `figures`: what only this scenario measures, by name. `notes`: why requests were lost. `failures`: what went wrong
    with the experiment as a whole.
    """

    scenario: str
    sent: int
    answered: int
    rejected: int
    retried: int | None
    lost: int
    duplicated: int | None
    late: int
    refused: int
    recovery_s: float | None
    orphans: int
    figures: Mapping[str, float | None] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Something was answered; nothing was lost, answered twice or left behind; the fleet recovered in time."""
        is_late = self.recovery_s is not None and self.recovery_s > LONGEST_RECOVERY_S
        return self.answered > 0 and not (self.lost or self.duplicated or self.orphans or self.failures or is_late)


def fates(exchanges: Sequence[Exchange], *, late_s: float) -> dict[str, int]:
    """The columns that the requests themselves decide."""
    counts = Counter(each.fate for each in exchanges)
    late = sum(each.latency_s > late_s for each in exchanges if each.latency_s is not None)
    return {
        "sent": len(exchanges) - counts["unsent"],
        **{fate: counts[fate] for fate in ("answered", "rejected", "lost")},
        "late": late,
    }


def loss_notes(exchanges: Sequence[Exchange]) -> tuple[str, ...]:
    """Why requests were lost, the most frequent reason first, and how many were never sent."""
    reasons = Counter(why_lost(each) for each in exchanges if each.fate == "lost")
    notes = [f"{count} lost: {reason}" for reason, count in reasons.most_common()]
    unsent = sum(each.fate == "unsent" for each in exchanges)
    return (*notes, f"{unsent} not sent: this client could not") if unsent else tuple(notes)
