"""Prompts that fit: as many of the best documents as there is room for, at a cost that long documents do not raise."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from servers.rag.corpus import Corpus
from servers.rag.generation import llama
from servers.rag.generation.decoder import Decoder
from servers.rag.generation.local import LocalGenerator
from servers.rag.models import TINY
from servers.rag.pipeline import Ask, Found, Hit, Pipeline
from servers.rag.prompts import PROMPTS
from servers.rag.room import fitted
from servers.rag.tokens import FileTokenizer
from tests.servers.rag.generating import generate, submit

ANSWER = 8
FACT = "Mira Toven was born in Kalvostadt and keeps two herons by the northern harbour. "


class Spy(FileTokenizer):
    """A tokenizer that counts the characters it is given."""

    characters = 0

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        self.characters += sum(map(len, texts))
        return super().encode(texts)


@pytest.fixture(scope="module")
def model() -> Any:
    return llama.load(TINY / "reader", device="cpu", dtype=torch.float32)


@pytest.fixture
def tokenizer() -> Spy:
    return Spy(TINY / "reader")


def pipeline(model: Any, tokenizer: Spy) -> Pipeline:
    generator = LocalGenerator(Decoder(model, tokenizer, temperature=0.0, seed=0), is_continuous=False)
    corpus = Corpus("none", ("0",), ("",))
    nothing: Any = None
    return Pipeline(nothing, nothing, corpus, PROMPTS["short"], generator, "tiny", {})


def found(texts: Sequence[str], query: str = "Who keeps herons?") -> Found:
    hits = tuple(Hit(str(number), text, 1.0) for number, text in enumerate(texts))
    return Found(Ask(query, len(texts), ANSWER), hits, {})


def generated(whole: Pipeline, asked: Sequence[Found]) -> list[Any]:
    return generate(whole.generator, whole.prompts(asked), [one.ask.max_new_tokens for one in asked])


def test_long_documents_cost_no_more_than_the_model_has_room_for(model: Any, tokenizer: Spy) -> None:
    whole = pipeline(model, tokenizer)
    [answer] = generated(whole, [found([FACT * 260] * 50)])
    assert answer.prompt_tokens < 30
    assert tokenizer.characters < 20_000, "of 1,060,000 in the documents"
    [answer] = generated(whole, [found([FACT] + [FACT * 260] * 49)])
    assert 60 < answer.prompt_tokens < 100
    assert tokenizer.characters < 40_000


def test_short_documents_are_tokenised_once(model: Any, tokenizer: Spy) -> None:
    texts = [FACT] * 4
    generated(pipeline(model, tokenizer), [found(texts)] * 3)
    assert tokenizer.characters == 3 * len(PROMPTS["short"]("Who keeps herons?", texts))


def test_as_many_of_the_best_documents_as_fit_are_in_the_prompt(model: Any, tokenizer: Spy) -> None:
    [answer] = generated(pipeline(model, tokenizer), [found([FACT] * 200)])
    line = len(tokenizer.encode([FACT + "\n"])[0])
    room = model.positions - ANSWER
    assert room - line <= answer.prompt_tokens <= room


def test_an_answer_does_not_depend_on_how_long_its_neighbours_may_be(model: Any, tokenizer: Spy) -> None:
    one = found([FACT] * 200)
    longer = Found(one.ask._replace(max_new_tokens=400), one.hits, {})
    whole: Any = pipeline(model, tokenizer)
    for asked in ([one], [longer, one]):
        submit(whole.generator, whole.prompts(asked), [each.ask.max_new_tokens for each in asked])
    alone, _, beside = (len(job.prompt) for job in whole.generator._waiting)
    assert alone == beside


def words(texts: Sequence[str]) -> list[int]:
    """A tokenizer of words, in which one of more than nine letters is two."""
    return [sum(2 if len(word) > 9 else 1 for word in text.split()) for text in texts]


@given(
    st.lists(st.integers(0, 60).flatmap(lambda n: st.sampled_from(["a " * n, "abcdefghij " * n])), max_size=12),
    st.integers(1, 90),
    st.sampled_from(sorted(PROMPTS)),
    st.integers(0, 30),
)
def test_prompts_fit_and_one_document_more_would_not(texts: list[str], room: int, form: str, asked: int) -> None:
    """Or there are no documents left to leave out."""
    make, query = PROMPTS[form], "why " * asked
    [prompt] = fitted(make, [(query, texts)], [room], words)
    kept = next(n for n in range(len(texts), -1, -1) if prompt == make(query, texts[:n]))
    assert kept == 0 or words([prompt])[0] <= room
    if kept < len(texts):
        spare = 0 if form == "short" else kept  # "- " before each document is counted with the first one alone
        assert words([make(query, texts[: kept + 1])])[0] + spare > room


def test_a_text_with_few_tokens_for_its_length_is_read_on_until_it_is_known() -> None:
    blank = " " * 5000 + "end"
    make = PROMPTS["short"]
    assert fitted(make, [("q", [blank, blank])], [8], words) == [make("q", [blank, blank])]
