"""Generation backends on the shipped reader: what transformers' own loop gives, in any batch, in any order."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from servers.backend import Chunk, Done, Event
from servers.backend.steps import Steps
from servers.rag.generation import hub, llama
from servers.rag.generation.decoder import Decoder, Model, Tokenizer
from servers.rag.generation.local import LocalGenerator
from servers.rag.generation.rows import Job, Rows
from servers.rag.models import TINY
from servers.rag.prompts import short
from servers.rag.tokens import FileTokenizer
from tests.servers.rag.generating import chunked, ends, generate, submit

LIMIT = 12
static = partial(LocalGenerator, is_continuous=False)
continuous = partial(LocalGenerator, is_continuous=True)


@pytest.fixture(scope="module")
def model() -> Model:
    """The shipped reader, in our own code."""
    return llama.load(TINY / "reader", device="cpu", dtype=torch.float32)


@pytest.fixture(scope="module")
def hub_model() -> Model:
    """The same, in transformers'."""
    return hub.load(str(TINY / "reader"), device="cpu", dtype=torch.float32)


@pytest.fixture(scope="module", params=[FileTokenizer, lambda folder: hub.load_tokenizer(str(folder))])
def any_tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    made: Tokenizer = request.param(TINY / "reader")
    return made


@pytest.fixture(scope="module")
def tokenizer() -> FileTokenizer:
    return FileTokenizer(TINY / "reader")


@pytest.fixture
def generator(model: Any, tokenizer: Any) -> LocalGenerator:
    return static(Decoder(model, tokenizer, temperature=0.0, seed=0))


@pytest.fixture
def widths(model: Any) -> Iterator[list[int]]:
    """How many rows each pass of the model had."""
    seen: list[int] = []
    hook = model.module.register_forward_pre_hook(lambda *given: seen.append(read_by(*given)[0]), with_kwargs=True)
    yield seen
    hook.remove()


def read_by(_: Any, rows: tuple[Rows, ...], given: dict[str, Any]) -> tuple[int, ...]:
    """(rows, length) that a pass of either model looks at."""
    return tuple((rows[0].mask if rows else given["attention_mask"]).shape)


def prompts(count: int) -> list[str]:
    """Of very different lengths; what the answers say does not matter here."""
    text = "Mira Toven was born in Kalvostadt and keeps two herons by the northern harbour"
    return [short(f"{text[: 9 + 5 * (n % 12)]}?", [text[7 * (n % 5) :]] * (n % 3)) for n in range(count)]


def reference(module: Any, tokenizer: FileTokenizer, prompt: str) -> list[int]:
    """One prompt, no padding, transformers' own greedy loop. -> tokens without the end"""
    ids = torch.tensor(tokenizer.encode([prompt]))
    row = module.generate(ids, max_new_tokens=LIMIT, do_sample=False)[0, ids.shape[1] :].tolist()
    return row[: row.index(tokenizer.end)] if tokenizer.end in row else row


@pytest.fixture
def joining(model: Any, tokenizer: Any) -> LocalGenerator:
    return continuous(Decoder(model, tokenizer, temperature=0.0, seed=0))


@pytest.mark.parametrize("size", [1, 3, 16])
def test_answers_are_those_of_transformers_one_by_one(
    generator: Any, hub_model: Any, tokenizer: Any, size: int
) -> None:
    asked = prompts(16)
    wanted = [tokenizer.decode(reference(hub_model.module, tokenizer, prompt)).strip() for prompt in asked]
    made = [
        answer
        for start in range(0, 16, size)
        for answer in generate(generator, asked[start : start + size], [LIMIT] * len(asked[start : start + size]))
    ]
    assert [answer.text for answer in made] == wanted
    assert [answer.prompt_tokens for answer in made] == list(map(len, tokenizer.encode(asked)))


def test_a_model_of_transformers_gives_its_own_answers_in_any_company(hub_model: Any, tokenizer: Any) -> None:
    """Joined, cut and trimmed caches of its own kind."""
    joining = continuous(Decoder(hub_model, tokenizer, temperature=0.0, seed=0))
    asked = prompts(6)
    answers: dict[int, Any] = {}
    jobs: list[int] = []
    for prompt in asked:
        jobs += submit(joining, [prompt], [LIMIT])
        answers |= ends(joining.step())
    while len(answers) < len(jobs):
        answers |= ends(joining.step())
    wanted = [tokenizer.decode(reference(hub_model.module, tokenizer, prompt)).strip() for prompt in asked]
    assert [answers[job].text for job in jobs] == wanted


def test_each_row_ends_at_its_own_limit_and_leaves_the_batch(generator: Any, widths: list[int]) -> None:
    generator._decoder.end = -1  # nothing ends by itself
    made = generate(generator, prompts(4), [1, 5, 3, 5])
    assert [answer.completion_tokens for answer in made] == [1, 5, 3, 5]
    assert widths == [4, 3, 3, 2, 2]


def test_chunks_are_the_answer_token_by_token(generator: Any, tokenizer: Any) -> None:
    generator._decoder.end = -1
    first, second = submit(generator, prompts(2), [3, 2])
    steps = [generator.step() for _ in range(3)]
    assert [chunked(events) for events in steps] == [[first, second], [first, second], [first]]
    chunks = [event for events in steps for event in events if isinstance(event, Chunk)]
    tokens = [token for chunk in chunks if chunk.job == first for token in chunk.ids]
    assert isinstance(steps[2][-1], Done)
    done = steps[2][-1].result
    assert (tokenizer.decode(tokens).strip(), done.completion_tokens) == (done.text, 3)
    assert generator.step() == []


def test_what_is_submitted_meanwhile_makes_the_next_batch(generator: Any, widths: list[int]) -> None:
    generator._decoder.end = -1
    submit(generator, prompts(2), [3, 3])
    generator.step()
    [late] = submit(generator, prompts(1), [2])
    events = [event for _ in range(4) for event in generator.step()]
    assert chunked(events)[-2:] == [late, late]
    assert widths == [2, 2, 2, 1, 1]


_ASKED = st.tuples(st.integers(0, 15), st.integers(1, LIMIT), st.integers(0, 3), st.booleans())


@pytest.mark.slow
@given(st.lists(_ASKED, min_size=1, max_size=10))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_who_joins_or_leaves_changes_nobody_s_answer(
    joining: Any, generator: Any, asked: list[tuple[int, int, int, bool]]
) -> None:
    """Prompts that come some steps apart give what each gives alone; the last one before is given up now and then."""
    texts = prompts(16)
    jobs: list[int] = []
    answers, wanted, given_up = {}, {}, set()

    def step() -> list[Event]:
        events: list[Event] = joining.step()
        assert not {event.job for event in events} & given_up
        answers.update(ends(events))
        return events

    for which, limit, steps, gives_up in asked:
        for _ in range(steps):
            step()
        if gives_up and jobs and jobs[-1] not in answers:
            joining.cancel(jobs[-1])
            given_up.add(jobs[-1])
        jobs += submit(joining, [texts[which]], [limit])
        wanted[jobs[-1]] = generate(generator, [texts[which]], [limit])[0]
    while step():
        pass
    assert answers == {job: made for job, made in wanted.items() if job not in given_up}


def test_what_is_submitted_meanwhile_joins_with_the_next_step(joining: Any, widths: list[int]) -> None:
    joining._decoder.end = -1
    first, second = submit(joining, prompts(2), [4, 4])
    joining.step()
    [late] = submit(joining, prompts(1), [2])
    steps = [chunked(joining.step()) for _ in range(3)]
    assert steps == [[first, second, late], [first, second, late], [first, second]]
    assert widths == [2, 2, 1, 3, 2]


def test_columns_that_nobody_looks_at_are_dropped(joining: Any) -> None:
    joining._decoder.end = -1
    submit(joining, sorted(prompts(12), key=len)[::11], [9, 2])
    widest = []
    for _ in range(4):
        joining.step()
        widest.append(joining._running.mask.shape[1])
    assert widest[0] > widest[2] == widest[3] - 1


def test_a_cancelled_job_is_not_heard_of_again_and_changes_no_other(generator: Any, widths: list[int]) -> None:
    generator._decoder.end = -1
    alone = generate(generator, prompts(3)[2:], [4])
    del widths[:]
    gone, waiting = submit(generator, prompts(1), [9]), None
    _, kept = submit(generator, prompts(3)[1:], [9, 4])
    generator.cancel(kept - 1)
    generator.step()
    waiting = submit(generator, prompts(1), [2])
    generator.cancel(gone[0])
    generator.cancel(waiting[0])
    generator.cancel(-5)
    events = [event for _ in range(6) for event in generator.step()]
    assert {event.job for event in events} == {kept}
    assert events[-1] == Done(kept, alone[0])
    assert widths == [2, 2, 1, 1]


@pytest.mark.parametrize("kind", [static, continuous])
def test_a_batch_of_more_tokens_than_are_allowed_is_read_in_parts(
    kind: Any, model: Any, tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """In order, each as wide as its longest prompt, and one alone whatever its length; all get their own answers."""
    read: list[tuple[int, ...]] = []
    hook = model.module.register_forward_pre_hook(lambda *given: read.append(read_by(*given)), with_kwargs=True)
    asked = ["heron " * n for n in (30, 30, 60, 19, 19, 19)]
    sizes = list(map(len, tokenizer.encode(asked)))
    decoder = Decoder(model, tokenizer, temperature=0.0, seed=0)
    most = 2 * sizes[0]
    made = generate(kind(decoder, max_prompt_tokens=most), asked, [1] * 6)
    hook.remove()
    assert read == [(2, sizes[0]), (1, sizes[2]), (3, sizes[3])]
    assert made == [generate(kind(decoder), [prompt], [1])[0] for prompt in asked]
    [line] = [record.getMessage() for record in caplog.records if "max-prompt-tokens" in record.getMessage()]
    assert line == f"6 prompts of up to {sizes[2]} tokens are read in parts: --max-prompt-tokens is {most}"


def test_those_that_run_count_among_the_tokens_that_are_allowed(model: Any, tokenizer: Any) -> None:
    decoder = Decoder(model, tokenizer, temperature=0.0, seed=0)
    decoder.end = -1
    joining: Any = continuous(decoder, max_prompt_tokens=50)
    long, short_one = "heron " * 6, "heron "
    first, second = submit(joining, [long, short_one], [3, 2])
    steps = [chunked(joining.step()) for _ in range(5)]
    assert steps == [[first], [first], [first, second], [second], []]


def test_sampling_follows_its_seed(model: Any, tokenizer: Any) -> None:
    def sampled(seed: int) -> list[str]:
        made = static(Decoder(model, tokenizer, temperature=3.0, seed=seed))
        return [answer.text for answer in generate(made, prompts(6), [LIMIT] * 6)]

    assert sampled(1) == sampled(1) != sampled(2)


def test_a_prompt_too_long_for_the_model_loses_its_beginning(generator: Any) -> None:
    positions = generator._decoder.model.positions
    long = " ".join(["heron"] * 2 * positions)
    assert generator.window.positions == positions
    assert [length > positions for length in generator.window.lengths([long, "heron?"])] == [True, False]
    [answer] = generate(generator, [long], [LIMIT])
    assert answer.prompt_tokens == positions - LIMIT
    assert torch.is_inference_mode_enabled() is False


@pytest.mark.parametrize("kind", [static, continuous])
def test_every_part_of_a_batch_that_is_read_is_reported_as_such(model: Any, tokenizer: Any, kind: Any) -> None:
    decoder = Decoder(model, tokenizer, temperature=0.0, seed=0)
    decoder.end = -1
    steps = Kinds()
    generate(kind(decoder, max_prompt_tokens=1), prompts(3), [1] * 3, steps=steps)
    widths = list(map(len, tokenizer.encode(prompts(3))))
    assert steps.seen == [("prefill", width) for width in widths], "slow, however short a decode step is"
    steps.seen.clear()
    generate(kind(decoder, max_prompt_tokens=None), prompts(3), [2] * 3, steps=steps)
    assert steps.seen == [("prefill", 3 * max(widths)), ("decode", 1)]


class Kinds(Steps):
    """Notes what is reported as what."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, int]] = []

    @contextmanager
    def step(self, kind: str, size: int = 1) -> Iterator[None]:
        self.seen.append((kind, size))
        yield


def test_both_tokenizers_read_and_write_alike(tokenizer: FileTokenizer, any_tokenizer: Tokenizer) -> None:
    texts = [*prompts(16), "", " \n two  spaces ", "Zoë 東京 🦜 <eos> <pad>", "unbekanntes Wörterbuch"]
    ids = tokenizer.encode(texts)
    assert any_tokenizer.encode(texts) == ids
    assert [any_tokenizer.decode(text) for text in ids] == [tokenizer.decode(text) for text in ids]
    assert any_tokenizer.end == tokenizer.end == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_our_llama_gives_the_logits_of_transformers(tokenizer: FileTokenizer, dtype: torch.dtype) -> None:
    """Read in one padded batch and continued; in bfloat16 to the rounding of its eight bits."""
    ours, theirs = (
        module.load(source, device="cpu", dtype=dtype)
        for module, source in ((llama, TINY / "reader"), (hub, str(TINY / "reader")))
    )
    jobs = [Job(number, ids, LIMIT) for number, ids in enumerate(tokenizer.encode(prompts(12)))]
    batches = [Decoder(model, tokenizer, temperature=0.0, seed=0).rows(jobs) for model in (ours, theirs)]
    off = 1e-4 if dtype is torch.float32 else 0.5
    for _ in range(4):
        mine, wanted = ours.logits(batches[0]), theirs.logits(batches[1])
        torch.testing.assert_close(mine, wanted, atol=off, rtol=0)
        chosen = wanted.argmax(dim=-1)
        batches = [rows.after(chosen, range(len(jobs))) for rows in batches]
