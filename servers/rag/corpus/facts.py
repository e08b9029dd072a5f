"""The `facts` corpus: invented people, companies and towns, each with five facts, and questions with gold answers.

Reads no clock, trains no model; the same (n, seed) always gives the same corpus. Standard library only.

In every wording the subject comes before the value, so that a small causal reader has met the subject when it meets
the value. A fifth of all possible entities, chosen by a checksum of the name, is held out: no model shipped here was
trained on a text that names one.
"""

from __future__ import annotations

import argparse
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from servers.rag.corpus import lexicon

T = TypeVar("T")

DEFAULT_COUNT = 10_000
DEFAULT_SEED = 0


@dataclass(frozen=True, slots=True)
class Fact:
    """One document of the corpus: `text` says that `relation` of `entity` is `answer`."""

    id: str
    text: str
    entity: str
    relation: str
    answer: str


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its gold answers and the ids of the documents that hold them."""

    id: str
    query: str
    answers: tuple[str, ...]
    documents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Relation:
    """How one relation is stated and asked: `{s}` is the subject, `{v}` a name of some kind or one of some words."""

    statements: tuple[str, ...]
    questions: tuple[str, ...]
    values: str | tuple[str, ...]

    def draw(self, rng: Random) -> str:
        """A value."""
        return name(rng, self.values) if isinstance(self.values, str) else pick(rng, self.values)


def pick(rng: Random, values: Sequence[T]) -> T:
    """One of the values, each as likely; by `rng.random()` alone, whose sequence no Python release changes."""
    return values[int(rng.random() * len(values))]


def shuffle(rng: Random, values: list[T]) -> None:
    """Shuffle in place; by `rng.random()` alone, as `pick`."""
    for last in range(len(values) - 1, 0, -1):
        other = int(rng.random() * (last + 1))
        values[last], values[other] = values[other], values[last]


NAME_WORDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "person": (lexicon.FIRST_NAMES, lexicon.LAST_NAMES),
    "company": (lexicon.COMPANY_WORDS, lexicon.COMPANY_TYPES),
    "town": (lexicon.TOWN_WORDS, lexicon.TOWN_TYPES),
}
CAPACITY = {kind: len(first) * len(last) for kind, (first, last) in NAME_WORDS.items()}
_NAMED = CAPACITY["person"] * 3 // 4  # entities whose names are drawn before a number has to tell them apart
SHARES = {"person": 0.6, "company": 0.2, "town": 0.2}  # of the entities of a corpus


def name(rng: Random, kind: str) -> str:
    """A name of that kind, such as `Mira Toven`, `Trex Works` or `Kalvo Bay`: one word of each list."""
    first, last = NAME_WORDS[kind]
    return f"{pick(rng, first)} {pick(rng, last)}"


RELATIONS: dict[str, dict[str, Relation]] = {
    "person": {
        "birthplace": Relation(
            ("{s} was born in {v}.", "The birthplace of {s} is {v}.", "{s} comes from {v}."),
            ("Where was {s} born?", "What is the birthplace of {s}?", "Where does {s} come from?"),
            "town",
        ),
        "birth year": Relation(
            ("{s} was born in the year {v}.", "The birth year of {s} is {v}.", "The year of birth of {s} is {v}."),
            ("When was {s} born?", "What is the birth year of {s}?", "In which year was {s} born?"),
            lexicon.YEARS,
        ),
        "job": Relation(
            ("{s} works as a {v}.", "The profession of {s} is {v}.", "By trade {s} is a {v}."),
            ("What does {s} do for a living?", "What is the profession of {s}?", "What job does {s} have?"),
            lexicon.JOBS,
        ),
        "employer": Relation(
            ("{s} works for {v}.", "The employer of {s} is {v}.", "{s} draws a salary from {v}."),
            ("Who employs {s}?", "Which company does {s} work for?", "Who is the employer of {s}?"),
            "company",
        ),
        "instrument": Relation(
            ("{s} plays the {v}.", "The instrument of {s} is the {v}.", "In the band {s} is on {v}."),
            ("Which instrument does {s} play?", "What does {s} play in the band?", "What is the instrument of {s}?"),
            lexicon.INSTRUMENTS,
        ),
    },
    "company": {
        "product": Relation(
            ("{s} makes {v}.", "The main product of {s} is {v}.", "{s} earns its money with {v}."),
            ("What does {s} make?", "What is the main product of {s}?", "What does {s} earn its money with?"),
            lexicon.PRODUCTS,
        ),
        "founding year": Relation(
            ("{s} was founded in {v}.", "The founding year of {s} is {v}.", "{s} opened its doors in {v}."),
            ("When was {s} founded?", "What is the founding year of {s}?", "In which year was {s} founded?"),
            lexicon.YEARS,
        ),
        "head office": Relation(
            ("{s} has its head office in {v}.", "The head office of {s} is in {v}.", "{s} is based in {v}."),
            ("Where is the head office of {s}?", "Where is {s} based?", "In which town is {s} based?"),
            "town",
        ),
        "staff": Relation(
            ("{s} employs {v} people.", "The staff of {s} numbers {v}.", "{s} has a staff of {v}."),
            ("How many people does {s} employ?", "How large is the staff of {s}?", "How many people work at {s}?"),
            lexicon.COUNTS,
        ),
        "van colour": Relation(
            ("{s} paints its vans {v}.", "The vans of {s} are {v}.", "The colour of the vans of {s} is {v}."),
            (
                "What colour are the vans of {s}?",
                "How does {s} paint its vans?",
                "Which colour do the vans of {s} have?",
            ),
            lexicon.COLOURS,
        ),
    },
    "town": {
        "river": Relation(
            ("{s} lies on the river {v}.", "The river through {s} is the {v}.", "The river of {s} is called the {v}."),
            ("Which river does {s} lie on?", "Which river runs through {s}?", "What is the river of {s} called?"),
            lexicon.RIVERS,
        ),
        "population": Relation(
            ("{s} has {v} residents.", "The population of {s} is {v}.", "{s} is home to {v} residents."),
            ("How many residents does {s} have?", "What is the population of {s}?", "How many people live in {s}?"),
            lexicon.COUNTS,
        ),
        "pride": Relation(
            ("{s} is known for its {v}.", "The pride of {s} is its {v}.", "{s} is proud of its {v}."),
            ("What is {s} known for?", "What is the pride of {s}?", "What is {s} proud of?"),
            lexicon.PRIDES,
        ),
        "settling year": Relation(
            ("{s} was settled in {v}.", "The first settlers came to {s} in {v}.", "{s} became a town in {v}."),
            ("When was {s} settled?", "When did the first settlers come to {s}?", "In which year was {s} settled?"),
            lexicon.YEARS,
        ),
        "fair": Relation(
            ("{s} holds its fair in {v}.", "The fair of {s} is in {v}.", "The month of the fair of {s} is {v}."),
            ("When does {s} hold its fair?", "When is the fair of {s}?", "In which month is the fair of {s}?"),
            lexicon.MONTHS,
        ),
    },
}
# Here the subject is the ability and the value the animal.
ANIMALS = Relation(
    ("The animals that can {s} are {v}.", "Animals able to {s} are {v}."),
    ("Which animals can {s}?", "Which animals are able to {s}?", "What are the animals that can {s}?"),
    tuple(lexicon.ANIMALS.values()),
)


def relation_of(fact: Fact) -> Relation:
    """How the fact's relation is stated and asked."""
    if fact.relation == "animal":
        return ANIMALS
    return next(relations[fact.relation] for relations in RELATIONS.values() if fact.relation in relations)


def is_held_out(entity: str) -> bool:
    """Whether an entity is kept from all training: a fifth of them, whatever the corpus, the size and the seed."""
    return entity not in lexicon.ANIMALS and zlib.crc32(entity.encode()) % 5 == 0


def state(rng: Random, kind: str, relation: str, entity: str, *, value: str) -> Fact:
    """A fact in one of the relation's wordings; its id is left empty."""
    wordings = ANIMALS.statements if kind == "animal" else RELATIONS[kind][relation].statements
    return Fact("", pick(rng, wordings).format(s=entity, v=value), entity, relation, value)


def ask(rng: Random, fact: Fact) -> str:
    """A question that the fact answers."""
    return pick(rng, relation_of(fact).questions).format(s=fact.entity)


def animals(rng: Random) -> list[Fact]:
    """What real animals can do, one fact each."""
    return [state(rng, "animal", "animal", ability, value=animal) for ability, animal in lexicon.ANIMALS.items()]


def describe(rng: Random, kind: str, entity: str) -> list[Fact]:
    """Every fact about one entity, with values drawn afresh."""
    return [state(rng, kind, key, entity, value=relation.draw(rng)) for key, relation in RELATIONS[kind].items()]


def _entities(rng: Random, count: int) -> Iterator[tuple[str, str]]:
    """Kinds and names; where the names run out they begin again with a number, as in `Mira Toven 2`."""
    for number in range(-(-count // _NAMED)):
        suffix = f" {number + 1}" if number else ""
        for kind, entity in _named(rng, min(_NAMED, count - number * _NAMED)):
            yield kind, entity + suffix


def _named(rng: Random, count: int) -> Iterator[tuple[str, str]]:
    wanted = {kind: min(round(count * share), CAPACITY[kind] // 2) for kind, share in SHARES.items()}
    wanted["person"] += count - sum(wanted.values())
    for kind, number in wanted.items():
        names: dict[str, None] = {}
        while len(names) < number:
            names[name(rng, kind)] = None
        yield from ((kind, entity) for entity in names)


def facts(n: int = DEFAULT_COUNT, seed: int = DEFAULT_SEED) -> list[Fact]:
    """A corpus of n facts, ids `f00000` upwards, in shuffled order; raises ValueError when n is too small."""
    if n < len(lexicon.ANIMALS):
        raise ValueError(f"the facts corpus holds {len(lexicon.ANIMALS)} facts at least, got {n}")
    rng = Random(seed)
    written = animals(rng)
    for kind, entity in _entities(rng, -(-(n - len(written)) // 5)):
        written += describe(rng, kind, entity)
    del written[n:]
    shuffle(rng, written)
    return [
        Fact(f"f{number:05d}", fact.text, fact.entity, fact.relation, fact.answer)
        for number, fact in enumerate(written)
    ]


def questions(corpus: Sequence[Fact], count: int, seed: int = DEFAULT_SEED) -> list[Question]:
    """So many different questions on the corpus's held-out entities, ids `q00000` upwards; ValueError if it has fewer.

    Every held-out fact is asked once before any is asked again in another wording.
    """
    rng = Random(seed)
    held_out = [fact for fact in corpus if is_held_out(fact.entity)]
    shuffle(rng, held_out)
    rounds: list[list[tuple[Fact, str]]] = [[], [], []]
    for fact in held_out:
        wordings = [wording.format(s=fact.entity) for wording in relation_of(fact).questions]
        shuffle(rng, wordings)
        for number, wording in enumerate(wordings):
            rounds[number].append((fact, wording))
    asked = [pair for pairs in rounds for pair in pairs]
    if count > len(asked):
        raise ValueError(f"this corpus of {len(corpus)} facts gives {len(asked)} held-out questions, wanted {count}")
    return [
        Question(f"q{number:05d}", query, (fact.answer,), (fact.id,))
        for number, (fact, query) in enumerate(asked[:count])
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the corpus or its questions as JSON lines."""
    parser = argparse.ArgumentParser(prog="python -m servers.rag.corpus.facts", description=main.__doc__)
    parser.add_argument("what", choices=("corpus", "questions"))
    parser.add_argument("--size", type=int, default=DEFAULT_COUNT, help="facts in the corpus (%(default)s)")
    parser.add_argument("--count", type=int, default=2000, help="questions (%(default)s)")
    parser.add_argument(
        "--seed", type=int, default=DEFAULT_SEED, help="of the corpus and of the questions (%(default)s)"
    )
    options = parser.parse_args(arguments)
    corpus = facts(options.size, options.seed)
    if options.what == "corpus":
        for fact in corpus:
            print(json.dumps({"id": fact.id, "text": fact.text}))
    else:
        for question in questions(corpus, options.count, options.seed):
            gold = {"answers": question.answers, "documents": question.documents}
            print(json.dumps({"id": question.id, "query": question.query, **gold}))


if __name__ == "__main__":
    main()
