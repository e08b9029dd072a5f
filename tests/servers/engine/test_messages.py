"""What the server and its engine's process say to each other comes back as it was, and never as anything else."""

import pickle

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.batched import BatchedSettings
from servers.engine import Loaded, messages
from servers.engine.messages import HEAD, Kind, Step
from servers.rag.failed import Failed
from servers.rag.models import ModelError
from servers.rag.pipeline import Answered, Ask, Hit
from servers.settings import Settings

TICKET = 2**40
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NUMBER = st.floats(allow_nan=False)
HITS = st.lists(st.builds(Hit, TEXT, TEXT, NUMBER)).map(tuple)
SMALL = st.integers(0, 2**31)


def back(framed: bytes) -> object:
    length, ticket, kind = HEAD.unpack(framed[: HEAD.size])
    assert (length, ticket) == (len(framed) - HEAD.size, TICKET)
    return messages.read(kind, framed[HEAD.size :])


@given(st.lists(st.builds(Ask, TEXT, SMALL, SMALL)))
def test_questions_come_back(asks: list[Ask]) -> None:
    assert back(messages.questions(TICKET, asks)) == asks


@given(st.lists(st.builds(Answered, TEXT, TEXT, HITS, SMALL, SMALL, st.dictionaries(TEXT, NUMBER))))
def test_answers_come_back_whole_and_of_their_own_types(answers: list[Answered]) -> None:
    told = back(messages.answer(TICKET, answers))
    assert told == answers
    assert isinstance(told, list)
    assert all(type(answer) is Answered and all(type(hit) is Hit for hit in answer.documents) for answer in told)


def test_giving_up_and_what_is_loaded_come_back() -> None:
    loaded = Loaded(3, "stub", joins=True, info={"corpus": {"size": 3}, "batch_s": 0.5, "device": None})
    assert back(messages.given_up(TICKET)) is None
    assert back(messages.left(TICKET, 3)) == 3
    assert back(messages.answer(TICKET, loaded)) == loaded


def test_settings_arrive_whole_but_for_the_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_SEED", "5")
    settings = BatchedSettings(api_key="hush", seed=7, cache_dir="/cache", max_batch_size=3)
    framed = messages.orders(TICKET, settings)
    assert b"hush" not in framed
    assert back(framed) == Settings(**settings.model_dump(include=set(Settings.model_fields) - {"api_key"}))


class OddError(Exception):
    pass


def test_errors_come_back_as_one_of_two() -> None:
    missing, other = (
        back(messages.answer(TICKET, ModelError("no model"))),
        back(messages.answer(TICKET, OddError("odd"))),
    )
    assert (type(missing), str(missing)) == (ModelError, "no model")
    assert (type(other), str(other)) == (RuntimeError, "OddError: odd")


@pytest.mark.parametrize("odd", [Answered("\ud800", "", (), 1, 1, {}), Answered("a", "b", (), 2**64, 1, {})])
def test_an_answer_that_cannot_be_put_into_bytes_is_a_failure_of_its_own(odd: Answered) -> None:
    good = Answered("a", "b", (), 1, None, {})
    assert back(messages.answer(TICKET, [good, odd, good])) == [good, Failed("internal", "internal error"), good]
    loaded = Loaded(3, "stub", joins=True, info={"size": 2**64})
    assert isinstance(back(messages.answer(TICKET, loaded)), RuntimeError)
    assert isinstance(back(messages.answer(TICKET, OddError("\ud800"))), RuntimeError)


@given(st.integers(0, 255), st.binary(max_size=60))
def test_bytes_of_a_stranger_are_refused_or_plain(kind: int, body: bytes) -> None:
    try:
        told = messages.read(kind, body)
    except (msgspec.DecodeError, ValueError):
        return
    assert told is None or isinstance(told, list | Loaded | Step | ModelError | RuntimeError | Settings)


@pytest.mark.parametrize("kind", Kind)
def test_a_pickle_is_none_of_these(kind: Kind) -> None:
    with pytest.raises((msgspec.DecodeError, ValueError)):
        messages.read(kind, pickle.dumps([Ask("x", 1, 1)]))
