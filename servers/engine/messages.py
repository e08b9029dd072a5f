"""How the server and its engine's process put what they say into bytes: plain values, each of a known type.

Reading makes nothing but those, whoever wrote the bytes. No stream is read or written here.
"""

from collections.abc import Callable, Sequence
from enum import IntEnum
from struct import Struct
from typing import Any, NamedTuple

from msgspec import msgpack

from servers.backend import Chunk, Done, Event, Failed, Failure, Loaded
from servers.engine.loop import Cancel, Submit
from servers.rag.models import ModelError
from servers.rag.pipeline import Answered, Ask
from servers.settings import Settings, is_secret

__all__ = ["HEAD", "Kind", "Step", "cancel", "framed", "orders", "read", "said", "submit"]

HEAD = Struct("!IB")
"""Bytes that follow, kind."""

# An unheard-of type, a lone surrogate in somebody's document, an integer of more than 64 bits.
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


class _Asked(NamedTuple):
    """Submit, with its requests' type."""

    first: int
    requests: list[Ask]
    stream: bool


class _Ended(NamedTuple):
    """Done, with its result's type."""

    job: int
    result: Answered


class _Events(NamedTuple):
    """Events by kind: a list of all could not be told apart when it is read. Chunks of a job come before its end."""

    chunks: list[Chunk]
    done: list[_Ended]
    failed: list[Failed]


def orders(settings: Settings) -> bytes:
    """The first message to the engine: the settings that every design has, less the secrets."""
    values = settings.model_dump(mode="json", include=set(Settings.model_fields))
    return framed(Kind.SETTINGS, {name: value for name, value in values.items() if not is_secret(name)})


def submit(message: Submit) -> bytes:
    """Requests, to be run as one batch."""
    return framed(Kind.SUBMIT, message)


def cancel(job: int) -> bytes:
    """Nobody waits for that job any more."""
    return framed(Kind.CANCEL, job)


def said(value: Loaded | Sequence[Event] | Step | Exception) -> bytes:
    """What the engine says; that it failed, where it did or where its answer cannot be put into bytes."""
    if isinstance(value, Step):
        return framed(Kind.STEP, value)
    if isinstance(value, Exception):
        is_ours = isinstance(value, ModelError)
        return framed(Kind.FAULT, Fault(is_ours, str(value) if is_ours else _text(value)))
    if isinstance(value, Loaded):
        try:
            return framed(Kind.LOADED, value)
        except _UNENCODABLE as error:
            return framed(Kind.FAULT, Fault(is_model_error=False, text=_text(error)))
    try:
        return framed(Kind.EVENTS, _sorted(value))
    except _UNENCODABLE:
        return framed(Kind.EVENTS, _sorted([_encodable(event) for event in value]))


def framed(kind: Kind, value: Any) -> bytes:
    """A message with its head."""
    body = _encode(value)
    return HEAD.pack(len(body), kind) + body


def read(kind: int, body: bytes) -> Any:
    """What a message says: Settings, Submit, Cancel, Loaded, events, Step or an exception. Raises ValueError."""
    if kind not in _READ:
        raise ValueError(f"a message of kind {kind}, wanted one of {', '.join(map(repr, Kind))}")
    return _READ[kind](body)


def _sorted(events: Sequence[Event]) -> tuple[list[Event], list[Event], list[Event]]:
    kinds: tuple[list[Event], list[Event], list[Event]] = ([], [], [])
    for event in events:
        kinds[0 if isinstance(event, Chunk) else 1 if isinstance(event, Done) else 2].append(event)
    return kinds


def _encodable(event: Event) -> Event:
    """The event, or that its job failed, where it cannot be sent: the others can."""
    try:
        _encode(event)
    except _UNENCODABLE:
        return Failed(event.job, _INTERNAL)
    return event


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".encode(errors="replace").decode()


def _settings(body: bytes) -> Settings:
    return Settings(**_values(body))


def _submit(body: bytes) -> Submit:
    return Submit(*_asked(body))


def _cancel(body: bytes) -> Cancel:
    return Cancel(_job(body))


def _events(body: bytes) -> list[Event]:
    events = _parts(body)
    return [*events.chunks, *(Done(job, result) for job, result in events.done), *events.failed]


def _exception(body: bytes) -> Exception:
    return _fault(body).exception()


_encode = msgpack.Encoder().encode
_values = msgpack.Decoder(dict[str, Any]).decode
_asked = msgpack.Decoder(_Asked).decode
_job = msgpack.Decoder(int).decode
_fault = msgpack.Decoder(Fault).decode
_parts = msgpack.Decoder(_Events).decode
_READ: dict[int, Callable[[bytes], Any]] = {
    Kind.SETTINGS: _settings,
    Kind.SUBMIT: _submit,
    Kind.CANCEL: _cancel,
    Kind.LOADED: msgpack.Decoder(Loaded).decode,
    Kind.EVENTS: _events,
    Kind.FAULT: _exception,
    Kind.STEP: msgpack.Decoder(Step).decode,
}
