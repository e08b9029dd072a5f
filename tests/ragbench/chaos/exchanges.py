"""Exchanges as literals, for the tests of what is counted."""

from typing import Any

from ragbench.chaos.outcome import Exchange
from ragbench.results.records import Row


def exchange(due_s: float = 0.0, *, took_s: float = 0.01, number: int = 0, **changed: Any) -> Exchange:
    """One that was answered rightly; `changed`: fields of the row or of the exchange."""
    of_exchange = {
        name: changed.pop(name) for name in ("expected", "answer_id", "retry_after_s", "sent_id") if name in changed
    }
    row = {"status": "ok", "http_status": 200, "result": "why?", **changed}
    done_s = due_s + took_s
    whole = Row(number, "q", due_s, **({"sent_s": due_s, "done_s": done_s, "latency_s": took_s} | row))
    return Exchange(whole, **({"sent_id": "a-0", "expected": "why?", "answer_id": "a-0"} | of_exchange))
