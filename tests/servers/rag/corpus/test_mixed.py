"""The questions of many lengths: those that are shipped, and that their lengths are what the study says."""

import json
from pathlib import Path

from servers.rag.corpus import facts
from servers.rag.corpus.mixed import mixed

SHIPPED = Path(__file__).parents[4] / "ragbench" / "questions" / "mixed.jsonl"


def test_the_shipped_questions_are_the_generated_ones() -> None:
    lines = [json.loads(line) for line in SHIPPED.read_text(encoding="utf-8").splitlines()]
    assert [(line["id"], line["query"]) for line in lines] == mixed(facts.facts(), 1000)


def test_lengths_are_from_5_to_200_words_and_spread_evenly_in_their_logarithm() -> None:
    words = sorted(len(text.split()) for _, text in mixed(facts.facts(), 1000))
    assert 4 <= words[0] <= 8
    assert 190 <= words[-1] <= 200
    assert 25 < words[500] < 40, "the median of 5 to 200, log-uniform, is 32"
