"""Measures the shipped models end to end on questions about held-out entities; prints a table with 95% intervals.

Uses no server: a correct server must reproduce these figures.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from random import Random

from scipy.stats import binomtest

from servers.backend import Done
from servers.rag.build import build
from servers.rag.corpus import facts
from servers.rag.corpus.lexicon import UNKNOWN
from servers.rag.generation import Generator
from servers.rag.prompts import short
from servers.settings import Settings

MAX_NEW_TOKENS = 8
SETTINGS = {"device": "cpu", "dtype": "float32", "threads": 1, "max_new_tokens": MAX_NEW_TOKENS}


def answers(generator: Generator, prompts: Sequence[str], batch_size: int) -> list[str]:
    """One answer a prompt, in order, from batches of that size."""
    texts: list[str] = []
    for start in range(0, len(prompts), batch_size):
        batch = prompts[start : start + batch_size]
        generator.submit(range(len(batch)), batch, [MAX_NEW_TOKENS] * len(batch))
        ended: dict[int, str] = {}
        while len(ended) < len(batch):
            ended |= {event.job: event.result.text for event in generator.step() if isinstance(event, Done)}
        texts += [ended[job] for job in range(len(batch))]
    return texts


def row(name: str, hits: Sequence[bool]) -> str:
    """One line of the table, with Wilson's 95% score interval of the share (E. B. Wilson, 1927)."""
    low, high = binomtest(sum(hits), len(hits)).proportion_ci(method="wilson")
    return f"{name:<44} {sum(hits) / len(hits):.4f}  [{low:.4f}, {high:.4f}]  {sum(hits)} of {len(hits)}"


def placements(rng: Random, gold: int, ranking: Sequence[int]) -> dict[str, list[int]]:
    """Documents of a prompt, from `ranking`, which has one more: as retrieved, and with gold in a set place."""
    others = [document for document in ranking if document != gold]
    near = others[: len(ranking) - 2]
    shuffled = [gold, *near]
    facts.shuffle(rng, shuffled)
    return {
        "as retrieved": list(ranking[:-1]),
        "gold first": [gold, *near],
        "shuffled": shuffled,
        "gold last": [*near, gold],
        "gold left out, `unknown`": others[: len(ranking) - 1],
    }


def report(count: int, seed: int, k: int, *, batch_size: int) -> None:
    """Print retrieval, both models end to end, and the reader by where the gold document stands."""
    pipeline = build(Settings.model_validate(SETTINGS))
    questions = facts.questions(facts.facts(), count, seed)
    texts = pipeline.corpus.texts
    gold = [pipeline.corpus.ids.index(question.documents[0]) for question in questions]
    vectors = pipeline.embedder.queries([question.query for question in questions])
    rankings = pipeline.index.search(vectors, max(k + 1, 3))[0].tolist()
    for depth in (1, 2):
        print(row(f"recall@{depth}", [at in ranking[:depth] for at, ranking in zip(gold, rankings, strict=True)]))
    rng = Random(seed)
    placed = [placements(rng, at, ranking[: k + 1]) for at, ranking in zip(gold, rankings, strict=True)]
    for place in placed[0]:
        prompts = [
            short(question.query, [texts[at] for at in documents[place]])
            for question, documents in zip(questions, placed, strict=True)
        ]
        wanted = [(UNKNOWN,) if "left out" in place else question.answers for question in questions]
        started_s = time.perf_counter()
        answered = answers(pipeline.generator, prompts, batch_size)
        took_ms = (time.perf_counter() - started_s) / count * 1000
        hits = [answer in golds for answer, golds in zip(answered, wanted, strict=True)]
        print(row(f"exact match, k={k}, {place}", hits), f" {took_ms:.1f} ms each")


def main() -> None:
    """Print the figures of the shipped models."""
    parser = argparse.ArgumentParser(prog="python -m servers.rag.tiny.evaluate", description=main.__doc__)
    parser.add_argument("--count", type=int, default=2000, help="questions (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--k", type=int, default=2, help="documents in a prompt (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=32)
    options = parser.parse_args()
    report(options.count, options.seed, options.k, batch_size=options.batch_size)


if __name__ == "__main__":
    main()
