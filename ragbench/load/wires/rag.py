"""`POST /rag`: a question, and how many documents and tokens are wanted; the text under `result` is the answer."""

import json
from collections.abc import Sequence
from typing import Any

from ragbench.load.answer import MOST_COUNTED, Answer, bad_answer, start_of
from ragbench.load.target import Target
from ragbench.study.questions import Question, exact_match, f1, recall_at_k
from ragbench.study.schedule import Request

path = "/rag"

_LONGEST_RESULT = 1 << 20  # characters, of each row


def body(request: Request, target: Target) -> bytes:
    """A length of the request, as from a trace, replaces the target's."""
    asked: dict[str, Any] = {"query": request.question.query, "k": target.k}
    limit = target.max_new_tokens if request.max_new_tokens is None else request.max_new_tokens
    if limit is not None:
        asked["max_new_tokens"] = limit
    return json.dumps(asked).encode()


def read(answer: Answer, question: Question) -> dict[str, Any]:
    """The text, its marks, and the tokens used."""
    try:
        content = json.loads(answer.body)
    except (ValueError, RecursionError):
        return bad_answer(f"not JSON: {start_of(answer.body)}")
    result = content.get("result") if isinstance(content, dict) else None
    if not isinstance(result, str):
        return bad_answer(f"no text under 'result': {start_of(answer.body)}")
    if len(result) > _LONGEST_RESULT:
        return bad_answer(f"the text under 'result' has {len(result):,} characters, more than {_LONGEST_RESULT:,}")
    return {
        "status": "ok",
        "result": result,
        "exact_match": exact_match(result, question.answers),
        "f1": f1(result, question.answers),
        "recall_at_k": _recall(content.get("documents"), question.documents),
        **_usage(content.get("usage")),
    }


def _recall(documents: object, gold: Sequence[str]) -> float | None:
    if not isinstance(documents, list):
        return None
    ids = [document.get("id") for document in documents if isinstance(document, dict)]
    return recall_at_k([str(name) for name in ids if isinstance(name, str | int)], gold)


def _usage(usage: object) -> dict[str, int | None]:
    counts = usage if isinstance(usage, dict) else {}
    known = {name: counts.get(name) for name in ("prompt_tokens", "completion_tokens")}
    return {name: n if type(n) is int and 0 <= n <= MOST_COUNTED else None for name, n in known.items()}
