"""Messages between a server and its engine's process, as bytes: plain values, each of a known type.

Reading makes no other types, whoever wrote the bytes. Reads and writes no stream.
"""

from collections.abc import Callable, Sequence
from enum import IntEnum
from struct import Struct
from typing import Any, NamedTuple, cast

from msgspec import msgpack

from servers.backend import Chunk, Done, Event, Failed, Failure, Loaded
from servers.engine.loop import Cancel, Submit
from servers.rag.models import ModelError
from servers.rag.pipeline import Answered, Ask
from servers.settings import Settings, is_secret

HEAD = Struct("!IB")
"""Length of the body in bytes, kind."""

# An unknown type, a lone surrogate in a document, an integer of more than 64 bits.
_UNENCODABLE = (TypeError, ValueError, OverflowError)
_INTERNAL = Failure("internal", "internal error")


class Kind(IntEnum):
    """What a message is: the first three to the engine, the others from it."""

    SETTINGS = 0
    SUBMIT = 1
    CANCEL = 2
    LOADED = 3
    EVENTS = 4
    FAULT = 5
    STEP = 6


class Step(NamedTuple):
    """The engine makes progress; its next step may take that many seconds, if that is more than usual."""

    allowed_s: float


class _Fault(NamedTuple):
    """An exception: whether it is a ModelError, and its text."""

    is_model_error: bool
    text: str


class _Submit(NamedTuple):
    """Submit, with the type of its requests."""

    first: int
    requests: list[Ask]
    stream: bool


def framed(value: Settings | Submit | Cancel | Loaded | Sequence[Event] | Step | Exception) -> bytes:
    """A message with its head. Settings are those of every design, without the secrets.

    What the engine cannot encode is sent as its failure: an event as Failed, Loaded as an exception. Raises TypeError
    or ValueError on a Submit that cannot be encoded.
    """
    if isinstance(value, Settings):
        fields = value.model_dump(mode="json", include=set(Settings.model_fields))
        return _message(Kind.SETTINGS, {name: field for name, field in fields.items() if not is_secret(name)})
    if isinstance(value, Exception):
        is_model_error = isinstance(value, ModelError)
        return _message(Kind.FAULT, _Fault(is_model_error, str(value) if is_model_error else _text(value)))
    kind = _KINDS.get(type(value), Kind.EVENTS)
    try:
        return _message(kind, value)
    except _UNENCODABLE as error:
        if isinstance(value, Loaded):
            return framed(error)
        if kind != Kind.EVENTS:
            raise
        return _message(kind, [_encodable(event) for event in cast(Sequence[Event], value)])


def read(kind: int, body: bytes) -> Any:
    """What a message says: Settings, Submit, Cancel, Loaded, events, Step or an exception. Raises ValueError."""
    if kind not in _READERS:
        raise ValueError(f"a message of kind {kind}, wanted one of {', '.join(map(repr, Kind))}")
    return _READERS[kind](body)


def _message(kind: Kind, value: Any) -> bytes:
    body = _encode(value)
    return HEAD.pack(len(body), kind) + body


def _encodable(event: Event) -> Event:
    """The event, or Failed where it cannot be encoded."""
    try:
        _encode(event)
    except _UNENCODABLE:
        return Failed(event.job, _INTERNAL)
    return event


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".encode(errors="replace").decode()


def _reader(of: Any, make: Callable[[Any], Any] = lambda value: value) -> Callable[[bytes], Any]:
    decode = msgpack.Decoder(of).decode
    return lambda body: make(decode(body))


_encode = msgpack.Encoder().encode
_KINDS: dict[type, Kind] = {Submit: Kind.SUBMIT, Cancel: Kind.CANCEL, Loaded: Kind.LOADED, Step: Kind.STEP}
_READERS: dict[int, Callable[[bytes], Any]] = {
    Kind.SETTINGS: _reader(dict[str, Any], lambda values: Settings(**values)),
    Kind.SUBMIT: _reader(_Submit, lambda submit: Submit(*submit)),
    Kind.CANCEL: _reader(Cancel),
    Kind.LOADED: _reader(Loaded),
    Kind.EVENTS: _reader(list[Chunk | Done[Answered] | Failed]),
    Kind.FAULT: _reader(_Fault, lambda fault: (ModelError if fault.is_model_error else RuntimeError)(fault.text)),
    Kind.STEP: _reader(Step),
}
