"""Whether a point's figures can be quoted: a table of rules, of which the first that applies decides. Pure.

The order is that of what explains what. Of a point that failed there is nothing to say. Another program's load makes
sends late and queues long, so it is told before either. A load that was not sent as asked says nothing about how the
service would have done, so that comes before the queue. What is left is the service's own doing: it gave errors,
it fell behind, or it refused work. Errors come first, since a service that fails fast has no queue to show.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass

import numpy as np

from ragbench.results.metrics import Verdict
from ragbench.results.records import Row, Status
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
    """What a verdict goes by.

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
    """The verdict of the first rule that applies, and its reason in a short sentence."""
    for rule in RULES:
        reason = rule.reason(evidence)
        if reason is not None:
            return rule.verdict, reason
    raise AssertionError("the last rule always applies")


def service_fault(evidence: Evidence) -> tuple[Verdict, str] | None:
    """What the service did wrong by the rows, whoever else used the machine and however late the client was."""
    found = ((rule.verdict, rule.reason(evidence)) for rule in RULES if rule.verdict in SERVICE_FAULTS)
    return next(((verdict, reason) for verdict, reason in found if reason is not None), None)


def is_failing(evidence: Evidence) -> bool:
    """Whether more of the answers are errors than the rules allow, whatever the verdict."""
    return _failing(evidence) is not None


def _failed(evidence: Evidence) -> str | None:
    if evidence.failure is not None:
        return evidence.failure
    columns = evidence.columns
    if not len(columns) or columns.is_ok.any():
        return None
    first = next((row.error for row in columns.rows if row.error), "no reason given")
    return f"none of {len(columns)} requests got an ok answer; the first: {first}"


def _contaminated(evidence: Evidence) -> str | None:
    used, cores = evidence.other_cpu_cores, evidence.cores or 0.0
    if used is None or used <= max(OTHER_CORES, OTHER_SHARE * cores):
        return None
    failing = _failing(evidence)  # which the other programs need not be the cause of
    besides = "" if failing is None else f"; besides, {failing}"
    return f"other programs used {used:.2f}{f' of {cores:g}' if cores else ''} cores meanwhile{besides}"


def _client_limited(evidence: Evidence) -> str | None:
    columns = evidence.columns
    unsent = columns.statuses["unsent"]
    if unsent:
        return f"{unsent} of {len(columns)} requests were never sent"
    within = evidence.window.holds(columns.due_s)
    lags = columns.send_lag_s[within & ~np.isnan(columns.send_lag_s)]
    latencies = columns.latency_s[within & columns.is_ok]
    if not lags.size:
        return None
    late_s = float(np.percentile(lags, 95))
    limit_s = max(LATE_S, LATE_SHARE * float(np.median(latencies))) if latencies.size else LATE_S
    if late_s <= limit_s:
        return None
    return f"one in twenty requests left {late_s * 1000:.1f} ms late or more; {limit_s * 1000:.1f} ms are allowed"


def _failing(evidence: Evidence) -> str | None:
    columns = evidence.columns
    counts = {status: columns.statuses[status] for status in ERRORS if columns.statuses[status]}
    if _is_more(sum(counts.values()), columns, fewest=FEWEST_UNANSWERED):
        kinds = ", ".join(f"{n} {status}" for status, n in counts.items())
        first = next((row.error for row in columns.rows if row.status in ERRORS and row.error), "no reason given")
        return f"{sum(counts.values())} of {len(columns)} requests failed ({kinds}); the first: {first}"
    return None if evidence.same_answers else one_text(texts(columns.rows))


def texts(rows: Iterable[Row]) -> set[tuple[str, str]]:
    """The questions that were answered, each with its answers."""
    return {(row.question, row.result) for row in rows if row.status == "ok" and row.result is not None}


def one_text(answers: Set[tuple[str, str]]) -> str | None:
    """Why such `texts` look like one error text that came with status 200."""
    questions = len({question for question, _ in answers})
    if questions < FEWEST_QUESTIONS:
        return None
    text, times = Counter(result for _, result in answers).most_common(1)[0]
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
    grown = growth(columns, evidence.window)
    if grown is not None and grown.lasts_to_the_end():
        return f"to the end, {grown}"
    short = falls_short(columns, evidence.window)
    return None if short is None else str(short)


def _shedding(evidence: Evidence) -> str | None:
    columns = evidence.columns
    rejected = columns.statuses["rejected"]
    if not _is_more(rejected, columns, fewest=FEWEST_UNANSWERED):
        return None
    return f"{rejected} of {len(columns)} requests were refused"


def _valid(evidence: Evidence) -> str:
    if not len(evidence.columns):
        return "no request was drawn"
    notes = ["sent on time" if not evidence.is_closed else "closed loop: each user waited for each answer"]
    if not evidence.is_closed:
        judged = growth(evidence.columns, evidence.window) is not None
        notes.append("no growth to the end" if judged else f"{len(evidence.columns)} requests: too few to judge growth")
    unanswered = len(evidence.columns) - int(np.count_nonzero(evidence.columns.is_ok))
    if unanswered:
        notes.append(f"{unanswered} of {len(evidence.columns)} requests without an answer")
    return "; ".join(notes)


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
        _failing,
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
