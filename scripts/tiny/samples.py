"""Training texts: facts that name no held-out entity, drawn from crowds of entities that share name words.

Draws from the `facts` corpus's own names and wordings; never from a corpus that is evaluated.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from servers.rag.corpus.facts import (
    NAME_WORDS,
    RELATIONS,
    Fact,
    animals,
    ask,
    is_held_out,
    pick,
    shuffle,
    state,
)
from servers.rag.corpus.lexicon import UNKNOWN


def crowd(rng: Random, kind: str, count: int, *, words: tuple[int, int]) -> list[str]:
    """Up to so many training entities of one kind that share words: named from so many first and last ones."""
    first, last = (
        [pick(rng, choices) for _ in range(number)] for choices, number in zip(NAME_WORDS[kind], words, strict=True)
    )
    names = list(dict.fromkeys(f"{one} {other}" for one in first for other in last))
    shuffle(rng, names)
    return [name for name in names if not is_held_out(name)][:count]


def fact(rng: Random, kind: str, relation: str, entity: str) -> Fact:
    """A fact about a training entity whose value is not held out either."""
    values = RELATIONS[kind][relation]
    value = values.draw(rng)
    while isinstance(values.values, str) and is_held_out(value):
        value = values.draw(rng)
    return state(rng, kind, relation, entity, value=value)


def biography(rng: Random, kind: str, entity: str) -> list[Fact]:
    """Every fact about one training entity."""
    return [fact(rng, kind, relation, entity) for relation in RELATIONS[kind]]


@dataclass(frozen=True, slots=True)
class Lesson:
    """Some documents, and questions on them with their answers, `unknown` where no document tells."""

    documents: tuple[str, ...]
    asked: tuple[tuple[str, str], ...]


def _related(rng: Random, count: int) -> list[Fact]:
    """At least that many facts that are easily confused: alike in name, in relation or in both."""
    kind = pick(rng, ("person", "person", "person", "company", "town"))
    few = 1 + int(rng.random() * 3)
    entities = (
        crowd(rng, kind, few, words=(few, few)) if rng.random() < 0.5 else crowd(rng, kind, count, words=(count, count))
    )
    relations = list(RELATIONS[kind])
    shuffle(rng, relations)
    relations = relations[: pick(rng, (1, 2, 5))]
    return [fact(rng, kind, relation, entity) for entity in entities for relation in relations]


def lesson(rng: Random, documents: int, *, best_answers: float, unanswerable: float) -> Lesson:
    """So many documents, best first, and two questions, each on the best document with that chance, else on any.

    A question becomes unanswerable with its chance, by asking for a fact that was left out.
    """
    if rng.random() < 0.08:
        pool = animals(rng)
    else:
        pool = _related(rng, documents + 1)
        while len(pool) < documents + 1:
            pool += _related(rng, documents + 1)
    shuffle(rng, pool)
    known = list({(fact.entity, fact.relation): fact for fact in pool}.values())
    chosen, left_out = known[:documents], known[documents:]
    asked = []
    for _ in range(2):
        fact = chosen[0] if rng.random() < best_answers else pick(rng, chosen)
        if left_out and rng.random() < unanswerable:
            asked.append((ask(rng, pick(rng, left_out)), UNKNOWN))
        else:
            asked.append((ask(rng, fact), fact.answer))
    return Lesson(tuple(fact.text for fact in chosen), tuple(asked))
