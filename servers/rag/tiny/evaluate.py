"""Measures the shipped models end to end on questions about held-out entities; prints a table with 95% intervals.

Uses no server: a correct server must reproduce these figures.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import torch
from scipy.stats import binomtest
from sentence_transformers import SentenceTransformer
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from servers.rag.corpus import facts
from servers.rag.corpus.lexicon import UNKNOWN
from servers.rag.prompts import short

HERE = Path(__file__).parent
EMBEDDER, READER = HERE / "embedder", HERE / "reader"
MAX_NEW_TOKENS = 8


class Reader:
    """Greedy answers in fp32: prompts in, answers out, whatever the batch."""

    def __init__(self, folder: Path = READER) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False).eval()
        self.config = GenerationConfig(
            do_sample=False, max_new_tokens=MAX_NEW_TOKENS,
            eos_token_id=self.tokenizer.eos_token_id, pad_token_id=self.tokenizer.pad_token_id,
        )  # fmt: skip

    def answers(self, prompts: Sequence[str], *, batch_size: int) -> list[str]:
        """One answer a prompt, in order, from left-padded batches of that size."""
        texts: list[str] = []
        for start in range(0, len(prompts), batch_size):
            inputs = self.tokenizer(list(prompts[start : start + batch_size]), return_tensors="pt", padding=True)
            with torch.inference_mode():
                rows = self.model.generate(**inputs, generation_config=self.config)
            new = rows[:, inputs["input_ids"].shape[1] :]
            texts += self.tokenizer.batch_decode(new, skip_special_tokens=True)
        return texts


def ranked(
    corpus: Sequence[facts.Fact], asked: Sequence[facts.Question], k: int, folder: Path = EMBEDDER
) -> np.ndarray:
    """Rows of the k best documents by inner product, (questions, k), best first; ties by lowest row."""
    model = SentenceTransformer(str(folder), device="cpu", trust_remote_code=False)
    documents = model.encode([fact.text for fact in corpus])
    queries = model.encode([question.query for question in asked])
    return np.argsort(-(queries @ documents.T), axis=1, kind="stable")[:, :k]


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
    corpus = facts.facts()
    asked = facts.questions(corpus, count, seed)
    row_of = {fact.id: at for at, fact in enumerate(corpus)}
    gold = [row_of[question.documents[0]] for question in asked]
    top = ranked(corpus, asked, max(k + 1, 3)).tolist()
    for depth in (1, 2):
        print(row(f"recall@{depth}", [at in ranking[:depth] for at, ranking in zip(gold, top, strict=True)]))
    reader, rng = Reader(), Random(seed)
    placed = [placements(rng, at, ranking[: k + 1]) for at, ranking in zip(gold, top, strict=True)]
    for place in placed[0]:
        prompts = [
            short(question.query, [corpus[at].text for at in documents[place]])
            for question, documents in zip(asked, placed, strict=True)
        ]
        wanted = [(UNKNOWN,) if "left out" in place else question.answers for question in asked]
        started_s = time.perf_counter()
        answers = reader.answers(prompts, batch_size=batch_size)
        took_ms = (time.perf_counter() - started_s) / count * 1000
        hits = [answer in golds for answer, golds in zip(answers, wanted, strict=True)]
        print(row(f"exact match, k={k}, {place}", hits), f" {took_ms:.1f} ms each")


def main() -> None:
    """Print the figures of the shipped models."""
    parser = argparse.ArgumentParser(prog="python -m servers.rag.tiny.evaluate", description=main.__doc__)
    parser.add_argument("--count", type=int, default=2000, help="questions (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--k", type=int, default=2, help="documents in a prompt (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=32)
    options = parser.parse_args()
    torch.set_num_threads(1)
    report(options.count, options.seed, options.k, batch_size=options.batch_size)


if __name__ == "__main__":
    main()
