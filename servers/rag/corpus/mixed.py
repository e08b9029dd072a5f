"""Questions of 5 to 200 words: a question after facts that have nothing to do with it, as users paste text.

python -m servers.rag.corpus.mixed prints the shipped set, ragbench/questions/mixed.jsonl, which has no gold answers.
"""

import json
import math
from collections.abc import Sequence
from random import Random

from servers.rag.corpus import facts

SHORTEST, LONGEST = 5, 200


def mixed(corpus: Sequence[facts.Fact], count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Pairs (id, text). The number of words is log-uniform: most are short and some are very long."""
    rng = Random(seed)
    mixed_questions = []
    for number, question in enumerate(facts.questions(corpus, count, seed)):
        words = math.exp(math.log(SHORTEST) + rng.random() * math.log(LONGEST / SHORTEST))
        asked = question.query.split()
        before: list[str] = []
        while len(before) + len(asked) < round(words):
            before += facts.pick(rng, corpus).text.split()
        before = before[: max(0, round(words) - len(asked))]
        mixed_questions.append((f"m{number:04d}", " ".join([*before, *asked])))
    return mixed_questions


if __name__ == "__main__":
    for name, text in mixed(facts.facts(), 1000):
        print(json.dumps({"id": name, "query": text}))
