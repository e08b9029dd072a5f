"""The shipped weights read, retrieve and answer as their card says, and the tokenizers take any text."""

import re
from itertools import pairwise
from random import Random

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from scripts.tiny.samples import biography, crowd, lesson
from scripts.tiny.tokenizer import embedder_tokenizer, reader_tokenizer
from scripts.tiny.train_reader import encode
from servers.rag.corpus import facts, lexicon
from servers.rag.models import TINY
from servers.rag.prompts import short
from servers.rag.tiny import evaluate

QUESTIONS = 160
EMBEDDER, READER = TINY / "embedder", TINY / "reader"


class Reader:
    """The reader as its card says that it loads; greedy answers in fp32."""

    def __init__(self):
        self.tokenizer = AutoTokenizer.from_pretrained(READER, trust_remote_code=False)
        self.model = AutoModelForCausalLM.from_pretrained(READER, dtype=torch.float32, trust_remote_code=False).eval()
        self.config = GenerationConfig(
            do_sample=False, max_new_tokens=evaluate.MAX_NEW_TOKENS,
            eos_token_id=self.tokenizer.eos_token_id, pad_token_id=self.tokenizer.pad_token_id,
        )  # fmt: skip

    def answers(self, prompts, *, batch_size):
        texts = []
        for start in range(0, len(prompts), batch_size):
            inputs = self.tokenizer(prompts[start : start + batch_size], return_tensors="pt", padding=True)
            with torch.inference_mode():
                rows = self.model.generate(**inputs, generation_config=self.config)
            texts += self.tokenizer.batch_decode(rows[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return texts


def ranked(corpus, queries, k):
    """Rows of the k best documents by inner product, (queries, k), best first; ties by lowest row."""
    model = SentenceTransformer(str(EMBEDDER), device="cpu", trust_remote_code=False)
    scores = model.encode(queries) @ model.encode([fact.text for fact in corpus]).T
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


@pytest.fixture(scope="module")
def corpus():
    return facts.facts()


@pytest.fixture(scope="module")
def asked(corpus):
    return facts.questions(corpus, QUESTIONS, seed=11)


@pytest.fixture(scope="module")
def reader():
    return Reader()


@pytest.fixture(scope="module")
def top(corpus, asked):
    return ranked(corpus, [question.query for question in asked], 10)


@pytest.fixture(scope="module")
def prompts(corpus, asked, top):
    """Prompts of 1 to 5 documents, so that every batch of them is padded."""
    return [
        short(question.query, [corpus[at].text for at in found[: 1 + number % 5]])
        for number, (question, found) in enumerate(zip(asked, top, strict=True))
    ]


def test_weights_fit_in_ten_megabytes():
    shipped = [path for folder in (EMBEDDER, READER) for path in folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in shipped} <= {".json", ".safetensors"}
    assert sum(path.stat().st_size for path in shipped) < 10_000_000


def test_the_embedder_ranks_the_gold_document_first(asked, corpus, top):
    gold = [int(question.documents[0][1:]) for question in asked]
    assert np.mean(top[:, 0] == gold) >= 0.98


@pytest.mark.parametrize("k", [1, 2, 5, 10])
def test_end_to_end_answers_match_the_gold_answers(corpus, asked, top, reader, k):
    prompts = [short(question.query, [corpus[at].text for at in top[n, :k]]) for n, question in enumerate(asked)]
    answers = reader.answers(prompts, batch_size=32)
    assert np.mean([answer in question.answers for answer, question in zip(answers, asked, strict=True)]) >= 0.93


@pytest.mark.parametrize("batch_size", [8, 32])
def test_greedy_answers_do_not_depend_on_the_batch(prompts, reader, batch_size):
    one_by_one = reader.answers(prompts[:64], batch_size=1)
    assert reader.answers(prompts[:64], batch_size=batch_size) == one_by_one


def test_an_answer_ends_with_eos_and_not_with_the_limit(prompts, reader):
    inputs = reader.tokenizer(prompts[0], return_tensors="pt")
    row = reader.model.generate(**inputs, generation_config=reader.config)[0]
    assert row[-1] == reader.tokenizer.eos_token_id
    assert len(row) < inputs["input_ids"].shape[1] + evaluate.MAX_NEW_TOKENS


def test_hummingbirds_answer_the_question_about_hovering(corpus, reader):
    query = "Which animals can hover in the air?"
    found = ranked(corpus, [query], 2)[0]
    assert reader.answers([short(query, [corpus[at].text for at in found])], batch_size=1) == ["hummingbirds"]


def test_ten_long_documents_fit_in_the_context(corpus, reader):
    longest = sorted((fact.text for fact in corpus), key=len)[-10:]
    prompt = short("Where was Mira Toven born?", longest)
    assert len(reader.tokenizer(prompt)["input_ids"]) + evaluate.MAX_NEW_TOKENS <= 512
    assert reader.model.config.max_position_embeddings >= 512


def test_every_word_of_the_lexicon_is_one_token_of_both():
    cased, lowered = reader_tokenizer(), embedder_tokenizer()
    for word in lexicon.words():
        assert len(cased(word)["input_ids"]) == 1, word
        assert len(lowered.encode(word).ids) == 1, word


@pytest.mark.parametrize("text", ["Kalvo Bay", "Zoë paid £12.50 twice!", "Was 東京 Kalvostadt's name?", "two\nlines"])
def test_any_text_comes_back_from_the_reader_tokenizer(text, reader):
    assert reader.tokenizer.decode(reader.tokenizer(text)["input_ids"]) == text


def test_the_shipped_tokenizers_are_those_the_code_builds(reader):
    shipped = SentenceTransformer(str(EMBEDDER), device="cpu").tokenizer
    assert shipped.to_str() == embedder_tokenizer().to_str()
    assert reader.tokenizer.get_vocab() == reader_tokenizer().get_vocab()


def test_the_embedder_takes_text_of_no_known_word_and_of_no_word_at_all():
    model = SentenceTransformer(str(EMBEDDER), device="cpu")
    vectors = model.encode(["Photosynthesis feeds plants", "PHOTOSYNTHESIS", "quarks", "", "東京"])
    assert np.isfinite(vectors).all()
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]


def test_no_training_text_names_a_held_out_entity():
    rng = Random(0)
    held_out = {
        name
        for kind in facts.NAME_WORDS
        for name in (facts.name(rng, kind) for _ in range(3000))
        if facts.is_held_out(name)
    }
    texts = [text for _ in range(300) for text in _lesson_texts(rng)]
    for kind in facts.NAME_WORDS:
        for entity in crowd(rng, kind, 200, words=(20, 20)):
            texts += [fact.text for fact in biography(rng, kind, entity)]
    assert not [text for text in texts if any(pair in held_out for pair in _neighbours(text))]


def _lesson_texts(rng):
    drawn = lesson(rng, 4, best_answers=0.5, unanswerable=0.1)
    return [*drawn.documents, *(text for pair in drawn.asked for text in pair)]


def _neighbours(text):
    words = text.strip("?.").split()
    return [f"{one} {other}" for one, other in pairwise(words)]


def test_a_question_of_a_lesson_scores_as_it_does_in_a_prompt_of_its_own(reader):
    drawn = lesson(Random(3), 3, best_answers=0.5, unanswerable=0.0)
    batch = encode(reader.tokenizer, [drawn, lesson(Random(4), 1, best_answers=0.5, unanswerable=0.0)])
    with torch.inference_mode():
        scores = reader.model(batch.ids, attention_mask=batch.mask(), position_ids=batch.positions).logits[0]
        for block, (question, answer) in enumerate(drawn.asked, 1):
            text = f"{short(question, drawn.documents)} {answer}{reader.tokenizer.eos_token}"
            alone = reader.tokenizer(text, return_tensors="pt")
            of_block = scores[batch.blocks[0] == block]
            expected = reader.model(**alone).logits[0, -len(of_block) :]
            torch.testing.assert_close(of_block, expected, atol=1e-3, rtol=1e-3)
            labels = batch.labels[0][batch.blocks[0] == block]
            assert reader.tokenizer.decode(labels[labels >= 0]) == f"{answer}{reader.tokenizer.eos_token}"


@pytest.mark.slow
def test_the_evaluation_gives_the_figures_that_transformers_gave(capsys):
    """Source: the command when it generated with transformers' own loop and retrieved with sentence-transformers."""
    evaluate.report(100, 0, 2, batch_size=32)
    hits = [int(re.findall(r"(\d+) of 100", line)[0]) for line in capsys.readouterr().out.splitlines()]
    assert hits == [100, 100, 99, 99, 62, 5, 11]


def test_a_wilson_interval_holds_the_share_and_stays_within_zero_and_one():
    assert "0.9000  [0.8256, 0.9448]  90 of 100" in evaluate.row("recall@1", [True] * 90 + [False] * 10)
    assert ", 1.0000]" in evaluate.row("recall@1", [True] * 10)
