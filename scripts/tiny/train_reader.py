"""Train the tiny reader: a small plain Llama that answers from the documents in its prompt.

Knows nothing of the embedder. `python -m scripts.tiny.train_reader` writes the shipped weights anew.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from scripts.tiny.samples import Lesson, lesson
from scripts.tiny.tokenizer import reader_tokenizer
from servers.rag import tiny
from servers.rag.prompts import short

FOLDER = Path(tiny.__file__).parent / "reader"
IGNORED = -100  # a label without loss
PADDING = -1


def architecture(tokenizer: PreTrainedTokenizerFast, *, width: int, layers: int) -> LlamaForCausalLM:
    """A small Llama, half of whose heads attend to like tokens from the start.

    Where queries equal keys, a token scores highest against itself, so that a name in the question finds the same name
    in the documents at once (mimetic initialisation). With all heads so, copying was not learnt in 700 steps.
    """
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=3 * width, num_hidden_layers=layers,
        num_attention_heads=width // 32, max_position_embeddings=1024, tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0}, attn_implementation="eager",
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.model.embed_tokens.weight.normal_(std=0.1)
        for layer in model.model.layers:
            like = torch.randn(width // 2, width) * 0.05
            layer.self_attn.k_proj.weight[: width // 2] = like
            layer.self_attn.q_proj.weight[: width // 2] = like
    return model


@dataclass(frozen=True, slots=True)
class Batch:
    """Lessons as rows of tokens (lessons, tokens): the documents, then each question with its answer.

    `blocks` is 0 in the documents, then the number of the question, and -1 in the padding. Labels are set on answers.
    """

    ids: torch.Tensor
    blocks: torch.Tensor
    positions: torch.Tensor
    labels: torch.Tensor

    def mask(self) -> torch.Tensor:
        """What to add to the attention scores, (lessons, 1, tokens, tokens): a question sees documents and itself only.

        So each question of a lesson stands where it stands in a prompt of its own, and no answer gives away another.
        """
        rows, columns = self.blocks[:, :, None], self.blocks[:, None, :]
        is_seen = ((columns == 0) | (columns == rows)).tril()
        return torch.zeros(is_seen.shape).masked_fill(~is_seen, torch.finfo(torch.bfloat16).min)[:, None]


def encode(tokenizer: PreTrainedTokenizerFast, lessons: list[Lesson]) -> Batch:
    """Token ids with block numbers, positions and labels, all padded on the right."""
    pieces: list[str] = []
    for item in lessons:
        pieces.append("\n".join(reversed(item.documents)))
        for question, answer in item.asked:
            pieces += [short(question, [""]), answer + tokenizer.eos_token]
    ids = iter(tokenizer(pieces, add_special_tokens=False)["input_ids"])
    rows = []
    for item in lessons:
        documents = next(ids)
        row = [(token, 0, at, IGNORED) for at, token in enumerate(documents)]
        for block in range(1, len(item.asked) + 1):
            question, answer = next(ids), next(ids)
            labels = [IGNORED] * len(question) + answer
            row += [
                (token, block, at, label)
                for at, (token, label) in enumerate(zip(question + answer, labels, strict=True), len(documents))
            ]
        rows.append(torch.tensor(row))
    padded = pad_sequence(rows, batch_first=True, padding_value=PADDING)
    padded_ids, blocks, positions, labels = padded.unbind(-1)
    is_padding = blocks == PADDING
    return Batch(
        padded_ids.masked_fill(is_padding, tokenizer.pad_token_id), blocks, positions.clamp(min=0),
        labels.masked_fill(is_padding, IGNORED),
    )  # fmt: skip


def batches(options: argparse.Namespace, tokenizer: PreTrainedTokenizerFast) -> Iterator[Batch]:
    """A batch a step, its lessons all of as many documents: 1 in the first tenth, then 1-4, in the last third 1-10."""
    rng = Random(options.seed)
    for step in range(options.steps):
        part = step / options.steps
        most = 1 if part < 0.1 else 4 if part < 2 / 3 else 10
        documents = 1 + int(rng.random() * most)
        lessons = [
            lesson(rng, documents, best_answers=options.best_answers, unanswerable=0.1)
            for _ in range(options.batch_tokens // (12 * documents + 28))
        ]
        yield encode(tokenizer, lessons)


def train(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, options: argparse.Namespace) -> None:
    """Train in place with AdamW: loss on answers only, a short warm-up, then a cosine down to nothing."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, step / 100) * 0.5 * (1 + math.cos(math.pi * step / options.steps))
    )
    started_s, right = time.monotonic(), []
    for step, batch in enumerate(batches(options, tokenizer), 1):
        is_answer = batch.labels[:, 1:] != IGNORED
        gold = batch.labels[:, 1:][is_answer]
        with torch.autocast("cpu", dtype=torch.bfloat16):  # 1.6 times as fast as fp32 where the CPU has it
            hidden = model.model(
                input_ids=batch.ids[:, :-1],
                attention_mask=batch.mask()[:, :, :-1, :-1],
                position_ids=batch.positions[:, :-1],
                use_cache=False,
            ).last_hidden_state
            scores = model.lm_head(hidden[is_answer]).float()
        loss = functional.cross_entropy(scores, gold)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        right.append((scores.argmax(-1) == gold)[gold != tokenizer.eos_token_id].float().mean().item())
        if step % 100 == 0:
            accuracy, took_s = sum(right) / len(right), time.monotonic() - started_s
            print(
                f"step {step} of {options.steps}, {took_s:.0f} s, loss {loss:.3f}, tokens right {accuracy:.3f}",
                flush=True,
            )
            right.clear()


def main() -> None:
    """Train and save the reader."""
    parser = argparse.ArgumentParser(prog="python -m scripts.tiny.train_reader", description=main.__doc__)
    parser.add_argument("--steps", type=int, default=3000, help="%(default)s")
    parser.add_argument("--batch-tokens", type=int, default=2600, help="about so many tokens a step (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="%(default)s")
    parser.add_argument("--learning-rate", type=float, default=2e-3, help="the highest (%(default)s)")
    parser.add_argument(
        "--best-answers", type=float, default=0.9, help="how often the best document is the one asked for (%(default)s)"
    )
    parser.add_argument("--width", type=int, default=128, help="%(default)s")
    parser.add_argument("--layers", type=int, default=4, help="%(default)s")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write (%(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(options.seed)
    tokenizer = reader_tokenizer()
    model = architecture(tokenizer, width=options.width, layers=options.layers)
    print(f"{model.num_parameters():,} parameters")
    train(model, tokenizer, options)
    model.save_pretrained(options.out)
    tokenizer.save_pretrained(options.out)


if __name__ == "__main__":
    main()
