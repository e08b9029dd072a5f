"""What the server and its engine's process say to each other comes back as it was, and never as anything else."""

import pickle

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.backend import Chunk, Done, Event, Failed, Failure, Loaded
from servers.batched import BatchedSettings
from servers.engine import Step, messages
from servers.engine.loop import Cancel, Submit
from servers.engine.messages import HEAD
from servers.rag.models import ModelError
from servers.rag.pipeline import Answered, Ask, Hit
from servers.settings import Settings

JOB = st.integers(-1, 2**60)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NUMBER = st.floats(allow_nan=False)
HITS = st.lists(st.builds(Hit, TEXT, TEXT, NUMBER)).map(tuple)
SMALL = st.integers(0, 2**31)


def back(framed: bytes) -> object:
    (length,) = HEAD.unpack(framed[: HEAD.size])
    assert length == len(framed) - HEAD.size
    return messages.read(framed[HEAD.size :])


@given(JOB, st.lists(st.builds(Ask, TEXT, SMALL, SMALL)), st.booleans())
def test_requests_come_back(first: int, asks: list[Ask], stream: bool) -> None:
    assert back(messages.framed(Submit(first, asks, stream))) == Submit(first, asks, stream)


ANSWER = st.builds(Answered, TEXT, TEXT, HITS, SMALL, SMALL, st.dictionaries(TEXT, NUMBER))
FAILURE = st.builds(Failure, st.sampled_from(["invalid", "busy", "upstream", "internal", "cancelled"]), TEXT, SMALL)
EVENT = st.one_of(
    st.builds(Chunk, JOB, st.lists(SMALL).map(tuple), TEXT),
    st.builds(Done, JOB, ANSWER),
    st.builds(Failed, JOB, FAILURE),
)


@given(st.lists(EVENT))
def test_events_come_back_in_order_and_of_their_own_types(events: list[Event]) -> None:
    told = back(messages.framed(events))
    assert told == events
    assert isinstance(told, list)
    assert {type(event) for event in told} <= {Chunk, Done, Failed}
    answers = [event.result for event in told if isinstance(event, Done)]
    assert all(type(answer) is Answered and all(type(hit) is Hit for hit in answer.documents) for answer in answers)


def test_giving_up_and_what_is_loaded_come_back() -> None:
    loaded = Loaded(3, "stub", is_continuous=True, info={"corpus": {"size": 3}, "batch_s": 0.5, "device": None})
    assert back(messages.framed(Cancel(3))) == Cancel(3)
    assert back(messages.framed(loaded)) == loaded


def test_settings_arrive_whole_but_for_the_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_SEED", "5")
    settings = BatchedSettings(api_key="hush", seed=7, cache_dir="/cache", max_batch_size=3)
    framed = messages.framed(settings)
    assert b"hush" not in framed
    assert back(framed) == Settings(**settings.model_dump(include=set(Settings.model_fields) - {"api_key"}))


class OddError(Exception):
    pass


def test_errors_come_back_as_one_of_two() -> None:
    missing, other = (
        back(messages.framed(ModelError("no model"))),
        back(messages.framed(OddError("odd"))),
    )
    assert (type(missing), str(missing)) == (ModelError, "no model")
    assert (type(other), str(other)) == (RuntimeError, "OddError: odd")


@pytest.mark.parametrize("odd", [Answered("\ud800", "", (), 1, 1, {}), Answered("a", "b", (), 2**64, 1, {})])
def test_an_answer_that_cannot_be_put_into_bytes_is_a_failure_of_its_own(odd: Answered) -> None:
    good = Answered("a", "b", (), 1, None, {})
    told = back(messages.framed([Done(1, good), Done(2, odd), Done(3, good)]))
    assert told == [Done(1, good), Failed(2, Failure("internal", "internal error")), Done(3, good)]
    loaded = Loaded(3, "stub", is_continuous=True, info={"size": 2**64})
    assert isinstance(back(messages.framed(loaded)), RuntimeError)
    assert isinstance(back(messages.framed(OddError("\ud800"))), RuntimeError)


@given(
    st.binary(max_size=60)
    | st.builds(
        lambda tag, rest: msgspec.msgpack.encode([tag, *rest]),
        st.sampled_from(["_Settings", "Submit", "Cancel", "Loaded", "_Events", "Step", "_Fault"]),
        st.lists(st.none() | st.integers(-9, 9) | TEXT | st.lists(st.integers(0, 9)) | st.dictionaries(TEXT, SMALL)),
    )
)
def test_bytes_of_a_stranger_are_refused_or_plain(body: bytes) -> None:
    try:
        told = messages.read(body)
    except (msgspec.DecodeError, ValueError):
        return
    assert isinstance(told, list | Submit | Cancel | Loaded | Step | ModelError | RuntimeError | Settings)


def test_a_pickle_is_no_message() -> None:
    with pytest.raises((msgspec.DecodeError, ValueError)):
        messages.read(pickle.dumps([Ask("x", 1, 1)]))
