"""Whether a point's figures can be quoted: the first rule of RULES that applies decides. Pure.

A cause comes before its effects. A point that failed has no figures. Another program's load makes sends late and queues
long. A load that was not sent as asked says nothing about the service. What is left is the service's own fault: it gave
errors, it fell behind, or it refused work; errors come first, since a service that fails fast has no queue.
"""

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Set
from dataclasses import dataclass

import numpy as np

from ragbench.results.metrics import Verdict
from ragbench.results.records import STATUSES, Row, Status
from ragbench.statistics.columns import Columns, Window
from ragbench.statistics.growth import falls_short, growth

ERRORS: tuple[Status, ...] = ("http_error", "reset", "connection_error", "truncated", "bad_answer")
NOT_MEASURED: tuple[Verdict, ...] = ("failed", "contaminated", "client_limited")  # worth measuring again
NO_MEANS: tuple[Verdict, ...] = ("failed", "failing")  # what a few lucky requests took says nothing of the service
SERVICE_FAULTS: tuple[Verdict, ...] = ("failing", "saturated", "shedding")

LATE_S = 0.001
LATE_SHARE = 0.01  # of the median latency
UNANSWERED_SHARE = 0.01  # more than this of all requests, by one kind of failure, is the service's verdict
FEWEST_UNANSWERED = 2  # errors and refusals: one alone is an accident
SAME_TEXT_SHARE, FEWEST_QUESTIONS = 0.5, 20
LONGEST_SHOWN = 60  # characters of an answer in a reason
OTHER_CORES, OTHER_SHARE = 0.25, 0.1


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a verdict is based on.

    `failure`: why the point failed, where the harness knows. `same_answers`: one text for all questions is no fault.
    """

    columns: Columns
    window: Window
    failure: str | None = None
    other_cpu_cores: float | None = None
    cores: float | None = None
    is_closed: bool = False
    same_answers: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """`reason` says why the rule applies to a point, or None where it does not; `when` says it in general."""

    verdict: Verdict
    when: str
    reason: Callable[[Evidence], str | None]


def judge(evidence: Evidence) -> tuple[Verdict, str]:
    """The verdict of the first rule that applies, and its reason in a short sentence. The last rule always applies."""
    return next(_applying(evidence, RULES))


def service_fault(evidence: Evidence) -> tuple[Verdict, str] | None:
    """What the service did wrong by its rows, whatever else used the machine and however late the client was."""
    return next(_applying(evidence, [rule for rule in RULES if rule.verdict in SERVICE_FAULTS]), None)


def _applying(evidence: Evidence, rules: Iterable[Rule]) -> Iterator[tuple[Verdict, str]]:
    return ((rule.verdict, reason) for rule in rules if (reason := rule.reason(evidence)) is not None)


def _failed(evidence: Evidence) -> str | None:
    if evidence.failure is not None:
        return evidence.failure
    columns = evidence.columns
    if not len(columns) or columns.is_ok.any():
        return None
    return f"none of {len(columns)} requests got an ok answer; the first: {_first_error(columns, STATUSES)}"


def _first_error(columns: Columns, statuses: Container[str]) -> str:
    return next((row.error for row in columns.rows if row.status in statuses and row.error), "no reason given")


def _contaminated(evidence: Evidence) -> str | None:
    used, cores = evidence.other_cpu_cores, evidence.cores or 0.0
    if used is None or used <= max(OTHER_CORES, OTHER_SHARE * cores):
        return None
    errors = failing(evidence)  # other programs need not be their cause
    also = "" if errors is None else f"; besides, {errors}"
    return f"other programs used {used:.2f}{f' of {cores:g}' if cores else ''} cores meanwhile{also}"


def _client_limited(evidence: Evidence) -> str | None:
    columns = evidence.columns
    unsent = columns.statuses["unsent"]
    if unsent:
        return f"{unsent} of {len(columns)} requests were never sent"
    within = evidence.window.holds(columns.due_s)
    lags = columns.send_lag_s[within & ~np.isnan(columns.send_lag_s)]
    latencies = columns.latency_s[within & columns.is_ok]
    late_s = float(np.percentile(lags, 95)) if lags.size else 0.0
    limit_s = max(LATE_S, LATE_SHARE * float(np.median(latencies))) if latencies.size else LATE_S
    if late_s <= limit_s:
        return None
    return f"one in twenty requests left {late_s * 1000:.1f} ms late or more; {limit_s * 1000:.1f} ms are allowed"


def failing(evidence: Evidence) -> str | None:
    """Why more of the answers are errors than the rules allow, whatever the verdict; None where they are not."""
    columns = evidence.columns
    counts = {status: columns.statuses[status] for status in ERRORS if columns.statuses[status]}
    errors = sum(counts.values())
    if _is_more(errors, columns, fewest=FEWEST_UNANSWERED):
        kinds = ", ".join(f"{n} {status}" for status, n in counts.items())
        return f"{errors} of {len(columns)} requests failed ({kinds}); the first: {_first_error(columns, ERRORS)}"
    return None if evidence.same_answers else one_text(texts(columns.rows))


def texts(rows: Iterable[Row]) -> set[tuple[str, str]]:
    """The pairs of question and answer."""
    return {(row.question, row.result) for row in rows if row.status == "ok" and row.result is not None}


def one_text(answers: Set[tuple[str, str]]) -> str | None:
    """Why `texts` look like one error text that came with status 200; None where they do not."""
    questions = len({question for question, _ in answers})
    if questions < FEWEST_QUESTIONS:
        return None
    text, times = Counter(answer for _, answer in answers).most_common(1)[0]
    if times <= SAME_TEXT_SHARE * questions:
        return None
    shown = text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."
    return f"{times} of {questions} different questions got one answer, {shown!r} (meant so? same_answers = true)"


def _is_more(count: int, columns: Columns, *, fewest: int = 1) -> bool:
    return count >= fewest and count > UNANSWERED_SHARE * len(columns)


def _saturated(evidence: Evidence) -> str | None:
    columns = evidence.columns
    timed_out = columns.statuses["timeout"]
    if _is_more(timed_out, columns):
        return f"{timed_out} of {len(columns)} requests timed out"
    if evidence.is_closed:
        return None
    queue = growth(columns, evidence.window)
    if queue is not None and queue.lasts_to_the_end():
        return f"to the end, {queue}"
    return falls_short(columns, evidence.window)


def _shedding(evidence: Evidence) -> str | None:
    rejected = evidence.columns.statuses["rejected"]
    is_shedding = _is_more(rejected, evidence.columns, fewest=FEWEST_UNANSWERED)
    return f"{rejected} of {len(evidence.columns)} requests were refused" if is_shedding else None


def _valid(evidence: Evidence) -> str:
    columns = evidence.columns
    requests, unanswered = len(columns), len(columns) - columns.statuses["ok"]
    if not requests:
        return "no request was drawn"
    if evidence.is_closed:
        note = "closed loop: each user waited for each answer"
    elif growth(columns, evidence.window) is None:
        note = f"sent on time; {requests} requests: too few to judge growth"
    else:
        note = "sent on time; no growth to the end"
    return f"{note}; {unanswered} of {requests} requests without an answer" if unanswered else note


RULES: tuple[Rule, ...] = (
    Rule("failed", "the server died or never answered, or no request got an ok answer", _failed),
    Rule(
        "contaminated",
        f"programs other than client and server used more than {OTHER_CORES:g} of a core, and more than "
        f"{OTHER_SHARE:.0%} of the cores, on average",
        _contaminated,
    ),
    Rule(
        "client_limited",
        f"a request was never sent, or the 95th percentile of send lag exceeds both {LATE_S * 1000:g} ms and "
        f"{LATE_SHARE:.0%} of the median latency",
        _client_limited,
    ),
    Rule(
        "failing",
        f"more than {UNANSWERED_SHARE:.0%} of the requests, and at least {FEWEST_UNANSWERED}, are "
        f"{', '.join(ERRORS[:-1])} or {ERRORS[-1]}; or one text answers more than half of at least {FEWEST_QUESTIONS} "
        "different questions, unless the study says `same_answers = true`",
        failing,
    ),
    Rule(
        "saturated",
        f"more than {UNANSWERED_SHARE:.0%} of the requests timed out; or, in an open loop, requests in flight and "
        "latency (its median, p90 or p99) both grew to the end, or far fewer ended in the window than were due in it",
        _saturated,
    ),
    Rule(
        "shedding",
        f"more than {UNANSWERED_SHARE:.0%} of the requests, and at least {FEWEST_UNANSWERED}, were rejected",
        _shedding,
    ),
    Rule("valid", "none of these", _valid),
)


def rules_table() -> str:
    """The rules as a table in Markdown, in the order in which they are tried."""
    lines = ["| verdict | when |", "|---|---|", *(f"| `{rule.verdict}` | {rule.when} |" for rule in RULES)]
    return "\n".join(lines)
