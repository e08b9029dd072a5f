"""Train the tiny embedder: one vector a token, their mean is the text; contrastive, with negatives that share names.

Knows nothing of the reader. `python -m scripts.tiny.train_embedder` writes the shipped weights anew.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from random import Random

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding
from tokenizers import Tokenizer
from torch.nn import functional

from scripts.tiny.samples import biography, crowd
from scripts.tiny.tokenizer import UNK, embedder_tokenizer
from servers.rag import tiny
from servers.rag.corpus.facts import Fact, animals, ask

FOLDER = Path(tiny.__file__).parent / "embedder"
DIMENSIONS = 256
TEMPERATURE = 0.05
CROWDS = {"person": (64, (14, 14)), "company": (24, (8, 6)), "town": (24, (8, 6))}  # entities, name words


def texts(rng: Random) -> tuple[list[str], list[str]]:
    """One batch: questions, and as many documents, of which the i-th answers the i-th question and no other does."""
    facts: list[Fact] = animals(rng)
    for kind, (count, words) in CROWDS.items():
        for entity in crowd(rng, kind, count, words=words):
            facts += biography(rng, kind, entity)
    return [ask(rng, fact) for fact in facts], [fact.text for fact in facts]


def bags(tokenizer: Tokenizer, batch: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids of all texts in one row, and where each text starts."""
    ids = [encoding.ids for encoding in tokenizer.encode_batch_fast(batch, add_special_tokens=False)]
    lengths = torch.tensor([0] + [len(row) for row in ids[:-1]])
    return torch.tensor([token for row in ids for token in row]), lengths.cumsum(0)


def train(steps: int, seed: int, *, learning_rate: float = 0.02) -> SentenceTransformer:
    """Train from random vectors; the same steps and seed give the same weights on one kind of machine."""
    rng, tokenizer = Random(seed), embedder_tokenizer()
    torch.manual_seed(seed)
    vectors = torch.nn.EmbeddingBag(tokenizer.get_vocab_size(), DIMENSIONS, mode="mean")
    torch.nn.init.normal_(vectors.weight, std=DIMENSIONS**-0.5)
    optimizer = torch.optim.Adam(vectors.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps, pct_start=0.05)
    for step in range(1, steps + 1):
        questions, documents = (functional.normalize(vectors(*bags(tokenizer, side))) for side in texts(rng))
        scores = questions @ documents.T / TEMPERATURE
        gold = torch.arange(len(scores))
        loss = functional.cross_entropy(scores, gold) + functional.cross_entropy(scores.T, gold)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step} of {steps}, loss {loss:.4f}", flush=True)
    weights = vectors.weight.detach()
    weights[tokenizer.token_to_id(UNK)] = 0.0
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer, weights), Normalize()], device="cpu")


def main() -> None:
    """Train and save the embedder."""
    parser = argparse.ArgumentParser(prog="python -m scripts.tiny.train_embedder", description=main.__doc__)
    parser.add_argument("--steps", type=int, default=1000, help="%(default)s")
    parser.add_argument("--seed", type=int, default=0, help="%(default)s")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write (%(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    started_s = time.monotonic()
    train(options.steps, options.seed).save(str(options.out), create_model_card=False)
    print(f"wrote {options.out} after {time.monotonic() - started_s:.0f} s")


if __name__ == "__main__":
    main()
