"""What became of each request of an experiment, and how long each fault was felt. Pure; __init__.py has the columns."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np

from ragbench.results.records import Row

Fate = Literal["answered", "rejected", "lost", "unsent"]
LONGEST_RECOVERY_S = 10.0
STABLE_S = 2.0
_SLACK_SHARE = 0.5
_SLACK_S = 0.25
_REASONS = {
    "timeout": "no answer within the timeout",
    "connection_error": "no connection",
    "bad_answer": "no usable answer",
}


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request's row, with the parts of question and answer that the row does not hold.

    `expected`: the only text that is a right answer; None where any text is. `answer_id`, `retry_after_s`: headers of
    the answer.
    """

    row: Row
    sent_id: str
    expected: str | None = None
    answer_id: str | None = None
    retry_after_s: float | None = None

    @property
    def ending(self) -> tuple[Fate, str]:
        """How the request ended, and why it was lost; `unsent` is a failure of this client."""
        status, http_status = self.row.status, self.row.http_status
        if self.row.sent_s is None:
            return "unsent", ""
        if status == "ok" and self.answer_id not in (None, self.sent_id):
            return "lost", "the answer to another request"
        if status == "ok":
            return ("answered", "") if self.expected in (None, self.row.result) else ("lost", "a wrong body")
        if http_status in (429, 503) and self.retry_after_s is None:
            return "lost", f"{http_status} without Retry-After"
        if http_status in (429, 503, 504):
            return "rejected", ""
        return "lost", f"status {http_status}" if status == "http_error" else _REASONS.get(status, status)

    @property
    def fate(self) -> Fate:
        """How the request ended."""
        return self.ending[0]

    @property
    def latency_s(self) -> float | None:
        """Time from due to answer; None without an answer."""
        return self.row.latency_s if self.fate == "answered" else None


@dataclass(frozen=True, slots=True)
class Tally:
    """A row of chaos.csv: every field but the last three is a column. None: not known, or not applicable.

    `figures`: measured in this scenario only, by name. `notes`: why requests were lost. `failures`: what went wrong
    with the experiment.
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
    def passed(self) -> bool:
        """Whether requests were answered, none was lost or answered twice, and the fleet recovered and ended."""
        is_slow = self.recovery_s is not None and self.recovery_s > LONGEST_RECOVERY_S
        return self.answered > 0 and not (self.lost or self.duplicated or self.orphans or self.failures or is_slow)


def fates(exchanges: Sequence[Exchange], *, late_s: float) -> dict[str, int]:
    """The columns that are counts of requests."""
    counts = Counter(exchange.fate for exchange in exchanges)
    return {
        "sent": len(exchanges) - counts["unsent"],
        **{fate: counts[fate] for fate in ("answered", "rejected", "lost")},
        "late": sum(exchange.latency_s is not None and exchange.latency_s > late_s for exchange in exchanges),
    }


def loss_notes(exchanges: Sequence[Exchange]) -> tuple[str, ...]:
    """Why requests were lost, the most frequent reason first, and how many were never sent."""
    reasons = Counter(reason for fate, reason in (exchange.ending for exchange in exchanges) if fate == "lost")
    notes = [f"{count} lost: {reason}" for reason, count in reasons.most_common()]
    unsent = sum(exchange.fate == "unsent" for exchange in exchanges)
    return (*notes, f"{unsent} not sent: this client could not") if unsent else tuple(notes)


def limit_s(exchanges: Sequence[Exchange], *, first_fault_s: float) -> float:
    """The longest latency of a well-served request: the p99 before the first fault, plus 50% or 250 ms.

    The larger of the two is added. Infinite where nothing was answered before the fault.
    """
    before = [each.latency_s for each in exchanges if each.row.due_s < first_fault_s and each.latency_s is not None]
    if not before:
        return math.inf
    p99_s = float(np.quantile(before, 0.99))
    return p99_s + max(_SLACK_SHARE * p99_s, _SLACK_S)


def recovery_s(exchanges: Sequence[Exchange], faults_s: Sequence[float], *, end_s: float) -> float | None:
    """The longest time from a fault to the recovery from it; None without a fault, or where one has no recovery.

    Recovery is the first moment from which every request due within STABLE_S is well served; STABLE_S ends before the
    next fault and before `end_s`, the end of the load.
    """
    limit = limit_s(exchanges, first_fault_s=faults_s[0]) if faults_s else math.inf
    times = [_recovery_s(exchanges, *span_s, limit) for span_s in pairwise([*faults_s, end_s])]
    return None if None in times else max((time for time in times if time is not None), default=None)


def _recovery_s(exchanges: Sequence[Exchange], fault_s: float, until_s: float, limit: float) -> float | None:
    """The calm begins at the fault or at a badly served request. A calm without any request proves nothing."""
    due = [(each.row.due_s, each.latency_s is not None and each.latency_s <= limit) for each in exchanges]
    due = sorted((due_s, is_good) for due_s, is_good in due if fault_s <= due_s < until_s)
    bad_s = [due_s for due_s, is_good in due if not is_good]
    for begin_s, end_s in pairwise([fault_s, *bad_s, until_s]):
        if begin_s + STABLE_S <= end_s and any(is_good and begin_s <= due_s < end_s for due_s, is_good in due):
            return begin_s - fault_s
    return None
