"""Generation backends on the shipped reader: what transformers' own loop gives, in any batch, in any order."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from servers.rag.generation import generate
from servers.rag.generation.static import StaticGenerator
from servers.rag.models import TINY
from servers.rag.prompts import short

LIMIT = 12


@pytest.fixture(scope="module")
def model() -> Any:
    return AutoModelForCausalLM.from_pretrained(str(TINY / "reader")).eval()


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(str(TINY / "reader"))


@pytest.fixture
def generator(model: Any, tokenizer: Any) -> StaticGenerator:
    return StaticGenerator(model, tokenizer, temperature=0.0, seed=0)


@pytest.fixture
def widths(model: Any) -> Iterator[list[int]]:
    """How many rows each pass of the model had."""
    seen: list[int] = []
    hook = model.register_forward_pre_hook(lambda _, __, given: seen.append(len(given["input_ids"])), with_kwargs=True)
    yield seen
    hook.remove()


def prompts(count: int) -> list[str]:
    """Of very different lengths; what the answers say does not matter here."""
    text = "Mira Toven was born in Kalvostadt and keeps two herons by the northern harbour"
    return [short(f"{text[: 9 + 5 * (n % 12)]}?", [text[7 * (n % 5) :]] * (n % 3)) for n in range(count)]


def reference(model: Any, tokenizer: Any, prompt: str) -> list[int]:
    """One prompt, no padding, transformers' own greedy loop. -> tokens without the end"""
    ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
    row = model.generate(ids, max_new_tokens=LIMIT, do_sample=False)[0, ids.shape[1] :].tolist()
    return row[: row.index(tokenizer.eos_token_id)] if tokenizer.eos_token_id in row else row


@pytest.mark.parametrize("size", [1, 3, 16])
def test_answers_are_those_of_transformers_one_by_one(generator: Any, model: Any, tokenizer: Any, size: int) -> None:
    asked = prompts(16)
    wanted = [tokenizer.decode(reference(model, tokenizer, prompt)).strip() for prompt in asked]
    made = [
        answer
        for start in range(0, 16, size)
        for answer in generate(generator, asked[start : start + size], [LIMIT] * len(asked[start : start + size]))
    ]
    assert [answer.text for answer in made] == wanted
    assert [answer.prompt_tokens for answer in made] == [len(tokenizer(prompt)["input_ids"]) for prompt in asked]


def test_each_row_ends_at_its_own_limit_and_leaves_the_batch(generator: Any, widths: list[int]) -> None:
    generator._end = -1  # nothing ends by itself
    made = generate(generator, prompts(4), [1, 5, 3, 5])
    assert [answer.completion_tokens for answer in made] == [1, 5, 3, 5]
    assert widths == [4, 3, 3, 2, 2]


def test_pieces_are_the_answer_token_by_token(generator: Any, tokenizer: Any) -> None:
    generator._end = -1
    first, second = generator.submit(prompts(2), [3, 2])
    steps = [generator.step() for _ in range(3)]
    assert [[piece.job for piece in pieces] for pieces in steps] == [[first, second], [first, second], [first]]
    tokens = [piece.token for pieces in steps for piece in pieces if piece.job == first]
    done = steps[2][0].done
    assert (tokenizer.decode(tokens, skip_special_tokens=True).strip(), done.completion_tokens) == (done.text, 3)
    assert generator.step() == []


def test_what_is_submitted_meanwhile_makes_the_next_batch(generator: Any, widths: list[int]) -> None:
    generator._end = -1
    generator.submit(prompts(2), [3, 3])
    generator.step()
    [late] = generator.submit(prompts(1), [2])
    pieces = [piece for _ in range(4) for piece in generator.step()]
    assert [piece.job for piece in pieces][-2:] == [late, late]
    assert widths == [2, 2, 2, 1, 1]


def test_a_cancelled_job_is_not_heard_of_again_and_changes_no_other(generator: Any, widths: list[int]) -> None:
    generator._end = -1
    alone = generate(generator, prompts(3)[2:], [4])
    del widths[:]
    gone, waiting = generator.submit(prompts(1), [9]), None
    _, kept = generator.submit(prompts(3)[1:], [9, 4])
    generator.cancel(kept - 1)
    generator.step()
    waiting = generator.submit(prompts(1), [2])
    generator.cancel(gone[0])
    generator.cancel(waiting[0])
    generator.cancel(12345)
    pieces = [piece for _ in range(6) for piece in generator.step()]
    assert {piece.job for piece in pieces} == {kept}
    assert pieces[-1].done == alone[0]
    assert widths == [2, 2, 1, 1]


def test_sampling_follows_its_seed(model: Any, tokenizer: Any) -> None:
    def sampled(seed: int) -> list[str]:
        made = StaticGenerator(model, tokenizer, temperature=3.0, seed=seed)
        return [answer.text for answer in generate(made, prompts(6), [LIMIT] * 6)]

    assert sampled(1) == sampled(1) != sampled(2)


def test_a_prompt_too_long_for_the_model_loses_its_beginning(generator: Any) -> None:
    positions = generator._positions
    long = " ".join(["heron"] * 2 * positions)
    assert generator.fits([long, "heron?"], LIMIT) == [False, True]
    [answer] = generate(generator, [long], [LIMIT])
    assert answer.prompt_tokens == positions - LIMIT
    assert torch.is_inference_mode_enabled() is False
