"""Messages between a server and its engine's process, as bytes: plain values, each of a known type.

Reading makes no other types, whoever wrote the bytes. Reads and writes no stream.
"""

import struct
from typing import Any

from msgspec import Struct, msgpack

from servers.backend import Chunk, Done, Event, Failed, Failure, Loaded
from servers.engine import Reported, Step
from servers.engine.loop import Cancel, Submit
from servers.rag.models import ModelError
from servers.rag.pipeline import Answered, Ask
from servers.settings import Settings, is_secret

HEAD = struct.Struct("!I")
"""Length of the body in bytes."""

# An unknown type, a lone surrogate in a document, an integer of more than 64 bits.
_UNENCODABLE = (TypeError, ValueError, OverflowError)
_INTERNAL = Failure("internal", "internal error")


class _Settings(Struct, frozen=True, tag=True, array_like=True):
    values: dict[str, Any]


class _Events(Struct, frozen=True, tag=True, array_like=True):
    events: list[Chunk | Done[Answered] | Failed]


class _Fault(Struct, frozen=True, tag=True, array_like=True):
    is_model_error: bool
    text: str


_encode = msgpack.Encoder().encode
_decode = msgpack.Decoder(_Settings | Submit[Ask] | Cancel | Loaded | _Events | Step | _Fault).decode


def framed(message: Settings | Submit[Ask] | Cancel | Reported) -> bytes:
    """A message with its head. Settings are those of every design, without the secrets.

    What the engine cannot encode is sent as its failure: an event as Failed, Loaded as an exception. Raises TypeError
    or ValueError on a Submit that cannot be encoded.
    """
    body = _encoded(message)
    return HEAD.pack(len(body)) + body


def read(body: bytes) -> Any:
    """What a message says: Settings, Submit, Cancel, Loaded, events, Step or an exception. Raises ValueError."""
    match message := _decode(body):
        case _Settings():
            return Settings(**message.values)
        case _Events():
            return message.events
        case _Fault():
            return (ModelError if message.is_model_error else RuntimeError)(message.text)
    return message


def _encoded(message: Settings | Submit[Ask] | Cancel | Reported) -> bytes:
    try:
        return _encode(_plain(message))
    except _UNENCODABLE as error:
        if isinstance(message, list):
            return _encode(_Events([_encodable(event) for event in message]))
        if isinstance(message, Loaded):
            return _encoded(error)
        raise


def _plain(message: Settings | Submit[Ask] | Cancel | Reported) -> Struct:
    match message:
        case Settings():
            fields = message.model_dump(mode="json", include=set(Settings.model_fields))
            return _Settings({name: value for name, value in fields.items() if not is_secret(name)})
        case ModelError():
            return _Fault(is_model_error=True, text=str(message))
        case Exception():
            text = f"{type(message).__name__}: {message}".encode(errors="replace").decode()
            return _Fault(is_model_error=False, text=text)
        case list():
            return _Events(message)
    return message


def _encodable(event: Event) -> Event:
    """The event, or Failed where it cannot be encoded."""
    try:
        _encode(event)
    except _UNENCODABLE:
        return Failed(event.job, _INTERNAL)
    return event
