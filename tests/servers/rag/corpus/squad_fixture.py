"""Writes files of SQuAD's schema, with contexts of a few generated facts. Reads none."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from servers.rag.corpus.facts import Fact, facts, is_held_out, relation_of


def write_squad(path: Path, *, contexts: int = 60, facts_each: int = 2) -> Path:
    """A file whose contexts hold so many facts about held-out entities; one question is asked on each fact."""
    wanted = contexts * facts_each
    stated = [fact for fact in facts(100 + 10 * wanted) if is_held_out(fact.entity)][:wanted]
    paragraphs = [_paragraph(stated[start : start + facts_each]) for start in range(0, wanted, facts_each)]
    path.write_text(
        json.dumps({"version": "1.1", "data": [{"title": "Facts", "paragraphs": paragraphs}]}), encoding="utf-8"
    )
    return path


def _paragraph(stated: Sequence[Fact]) -> dict[str, Any]:
    context = " ".join(fact.text for fact in stated)
    return {"context": context, "qas": [_asked(fact, context) for fact in stated]}


def _asked(fact: Fact, context: str) -> dict[str, Any]:
    start = context.index(fact.text) + fact.text.rindex(fact.answer)
    assert context[start:].startswith(fact.answer)
    # Three annotators, as SQuAD has.
    answers = [{"text": fact.answer, "answer_start": start}] * 3
    return {"id": fact.id, "question": relation_of(fact).questions[0].format(s=fact.entity), "answers": answers}
