"""Questions of 5 to 200 words, as users paste them: a question, and before it facts that have nothing to do with it.

python -m servers.rag.corpus.mixed prints the shipped set, ragbench/questions/mixed.jsonl. It has no gold answers: what
counts here is length.
"""

import json
import math
from collections.abc import Sequence
from random import Random

from servers.rag.corpus import facts

__all__ = ["mixed"]

SHORTEST, LONGEST = 5, 200


def mixed(corpus: Sequence[facts.Fact], count: int, seed: int = 0) -> list[tuple[str, str]]:
    """(id, text) each; the number of words is log-uniform, so that most are short and some are very long."""
    rng = Random(seed)
    found = []
    for number, question in enumerate(facts.questions(corpus, count, seed)):
        words = math.exp(math.log(SHORTEST) + rng.random() * math.log(LONGEST / SHORTEST))
        asked = question.query.split()
        before: list[str] = []
        while len(before) + len(asked) < round(words):
            before += facts.pick(rng, corpus).text.split()
        kept = before[: max(0, round(words) - len(asked))]
        found.append((f"m{number:04d}", " ".join([*kept, *asked])))
    return found


if __name__ == "__main__":
    for name, text in mixed(facts.facts(), 1000):
        print(json.dumps({"id": name, "query": text}))
