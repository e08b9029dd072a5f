"""What holds for every generation backend of the table, made as a server makes it.

`openai`, which wants a server of its own, is in test_openai.py.
"""

import pytest
import torch

from servers.backend import Done
from servers.backend.steps import UNREPORTED
from servers.rag.generation import BACKENDS, Generated, Generator, build, reported_step
from servers.rag.models import PROFILES
from servers.rag.prompts import PROMPTS
from servers.settings import Settings
from tests.servers.rag.generating import ends, generate, submit

LIMITS = [1, 4, 12]
PROMPTED = [PROMPTS[PROFILES["tiny"].prompt](f"Which animals can {verb}?", []) for verb in ("hover", "dig", "sing")]


@pytest.fixture(scope="module", params=sorted(BACKENDS.keys() - {"openai"}))
def generator(request: pytest.FixtureRequest) -> Generator:
    return build(Settings(backend=request.param), PROFILES["tiny"], device="cpu", dtype=torch.float32)


def test_each_prompt_gets_one_answer_no_longer_than_it_may_be(generator: Generator) -> None:
    for answer, limit in zip(generate(generator, PROMPTED, LIMITS), LIMITS, strict=True):
        assert isinstance(answer, Generated)
        assert answer.completion_tokens is None or answer.completion_tokens <= limit
    assert reported_step(generator, UNREPORTED) == []


def test_no_job_is_heard_of_before_it_came_or_after_it_ended_or_was_cancelled(generator: Generator) -> None:
    first, second, third = submit(generator, PROMPTED, LIMITS)
    generator.cancel(second)
    running = {first, third}
    while running:
        for event in reported_step(generator, UNREPORTED):
            assert event.job in running
            running -= {event.job} if isinstance(event, Done) else set()
    generator.cancel(first)


def test_a_reset_forgets_all(generator: Generator) -> None:
    submit(generator, PROMPTED, LIMITS)
    reported_step(generator, UNREPORTED)
    generator.reset()
    assert ends(reported_step(generator, UNREPORTED)) == {}
    assert generator.reading == 0


def test_it_says_what_fits_and_whether_others_may_join(generator: Generator) -> None:
    assert isinstance(generator.is_continuous, bool)
    window = generator.window
    assert window is None or (window.positions > max(LIMITS) and len(window.lengths(PROMPTED)) == len(PROMPTED))
