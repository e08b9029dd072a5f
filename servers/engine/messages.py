"""How the server and its engine's process put what they say into bytes: plain values, each of a known type.

Reading makes nothing but those, whoever wrote the bytes. No stream is read or written here.
"""

from collections.abc import Callable, Sequence
from enum import IntEnum
from struct import Struct
from typing import Any, NamedTuple

from msgspec import msgpack

from servers.engine import Loaded
from servers.rag.failed import Failed
from servers.rag.models import ModelError
from servers.rag.pipeline import Answered, Ask
from servers.settings import Settings, is_secret

__all__ = ["HEAD", "Kind", "Step", "answer", "framed", "given_up", "left", "orders", "questions", "read"]

HEAD = Struct("!IQB")
"""Bytes that follow, ticket, kind."""

# An unheard-of type, a lone surrogate in somebody's document, an integer of more than 64 bits.
_UNENCODABLE = (TypeError, ValueError, OverflowError)


class Kind(IntEnum):
    """What a message is."""

    SETTINGS = 0
    QUESTIONS = 1
    GIVEN_UP = 2
    LOADED = 3
    ANSWERS = 4
    FAULT = 5
    LEFT = 6
    STEP = 7


class Fault(NamedTuple):
    """An exception as it travels: what the server tells apart, and the text."""

    is_model_error: bool
    text: str

    def exception(self) -> Exception:
        """To be raised on the other side."""
        return ModelError(self.text) if self.is_model_error else RuntimeError(self.text)


class Step(NamedTuple):
    """The engine makes progress; its next step may take that many seconds, where that is more than usual."""

    allowed_s: float


def orders(ticket: int, settings: Settings) -> bytes:
    """The first message to the engine: the settings that every design has, less the secrets."""
    values = settings.model_dump(mode="json", include=set(Settings.model_fields))
    return framed(ticket, Kind.SETTINGS, {name: value for name, value in values.items() if not is_secret(name)})


def questions(ticket: int, asks: Sequence[Ask]) -> bytes:
    """To be answered in one run."""
    return framed(ticket, Kind.QUESTIONS, asks)


def given_up(ticket: int) -> bytes:
    """Nobody waits for these any more."""
    return framed(ticket, Kind.GIVEN_UP, None)


def left(ticket: int, place: int) -> bytes:
    """Nobody waits any more for the answer to the question at that place among them."""
    return framed(ticket, Kind.LEFT, place)


def answer(ticket: int, value: Loaded | Sequence[Answered | Failed] | Step | Exception) -> bytes:
    """What the engine says; that it failed, where it did or where its answer cannot be put into bytes."""
    if isinstance(value, Step):
        return framed(ticket, Kind.STEP, value)
    if isinstance(value, Exception):
        is_ours = isinstance(value, ModelError)
        return framed(ticket, Kind.FAULT, Fault(is_ours, str(value) if is_ours else _told(value)))
    try:
        if isinstance(value, Loaded):
            return framed(ticket, Kind.LOADED, value)
        try:
            return framed(ticket, Kind.ANSWERS, _parted(value))
        except _UNENCODABLE:
            return framed(ticket, Kind.ANSWERS, _parted([_encodable(each) for each in value]))
    except _UNENCODABLE as error:
        return framed(ticket, Kind.FAULT, Fault(is_model_error=False, text=_told(error)))


def framed(ticket: int, kind: Kind, value: Any) -> bytes:
    """A message with its head."""
    body = _encode(value)
    return HEAD.pack(len(body), ticket, kind) + body


def read(kind: int, body: bytes) -> Any:
    """What a message says: Settings, questions, None, Loaded, answers or an exception. Raises ValueError on others."""
    if kind not in _READ:
        raise ValueError(f"a message of kind {kind}, wanted one of {', '.join(map(repr, Kind))}")
    return _READ[kind](body)


def _parted(value: Sequence[Answered | Failed]) -> tuple[list[Answered | None], dict[int, Failed]]:
    """Answers, and failures by their places: one list of both could not be told apart when it is read."""
    failed = {place: each for place, each in enumerate(value) if isinstance(each, Failed)}
    return [None if isinstance(each, Failed) else each for each in value], failed


def _encodable(value: Answered | Failed) -> Answered | Failed:
    """The answer, or why it cannot be sent: the others can."""
    try:
        _encode(value)
    except _UNENCODABLE:
        return Failed("internal", "internal error")
    return value


def _answers(body: bytes) -> list[Answered | Failed]:
    answers, failed = _parts(body)
    return [failed[place] if answer is None else answer for place, answer in enumerate(answers)]


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".encode(errors="replace").decode()


def _settings(body: bytes) -> Settings:
    return Settings(**_values(body))


def _exception(body: bytes) -> Exception:
    return _fault(body).exception()


_encode = msgpack.Encoder().encode
_values = msgpack.Decoder(dict[str, Any]).decode
_fault = msgpack.Decoder(Fault).decode
_parts = msgpack.Decoder(tuple[list[Answered | None], dict[int, Failed]]).decode
_READ: dict[int, Callable[[bytes], Any]] = {
    Kind.SETTINGS: _settings,
    Kind.QUESTIONS: msgpack.Decoder(list[Ask]).decode,
    Kind.GIVEN_UP: msgpack.Decoder(None).decode,
    Kind.LOADED: msgpack.Decoder(Loaded).decode,
    Kind.ANSWERS: _answers,
    Kind.FAULT: _exception,
    Kind.LEFT: msgpack.Decoder(int).decode,
    Kind.STEP: msgpack.Decoder(Step).decode,
}
