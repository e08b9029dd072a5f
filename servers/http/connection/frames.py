"""The framed link between a fleet and a replica of its own: many requests on one connection, a frame for each.

A fleet opens it by an HTTP Upgrade with the key that it gave its replica (switching.py), for which each side then sends
frames of a length (4 bytes), a kind (1), the number of the request (4) and the payload. Nothing is parsed twice: a
request is its fields and its body as they came.
"""

from collections.abc import Callable, Sequence
from enum import IntEnum
from struct import Struct

PATH = b"/link"
PROTOCOL = b"ragbench-link"
MOST_FIELDS_BYTES = 65_536
"""Of a request or an answer; its body comes on top."""
WINDOW_BYTES = 262_144
"""So many bytes of an answer in parts may be on their way that the fleet has not passed on."""

_HEAD = Struct("!IBI")
_SIZE = Struct("!I")
Fields = Sequence[tuple[bytes, bytes]]


class Kind(IntEnum):
    """What a frame says. The fleet sends the first three, the replica the others."""

    ASK = 1  # fields, the path as the first one's value, and a body
    CANCEL = 2  # the answer is not wanted any more
    MORE = 3  # so many bytes of parts were passed on
    REPLY = 4  # status, fields and the whole body
    BEGIN = 5  # status and fields; the body comes in parts
    PART = 6
    END = 7  # of the parts
    BROKEN = 8  # the parts broke off


class FrameError(ValueError):
    """The other side sent what is no frame."""


class FrameReader:
    """Calls `on_frame(kind, number, payload)` for each frame in the bytes it is fed. Raises FrameError.

    A payload of more than `most` bytes is an error.
    """

    def __init__(self, on_frame: Callable[[int, int, bytes], None], *, most: int) -> None:
        self._on_frame = on_frame
        self._most = most
        self._held = bytearray()  # the beginning of a frame
        self._needed = 0  # bytes until it can be read

    def feed(self, data: bytes) -> None:
        """Read the frames that are complete; the rest is kept."""
        if self._held:
            self._held += data
            if len(self._held) < self._needed:
                return
            data = bytes(self._held)
            self._held.clear()
        start, end = 0, len(data)
        while end - start >= _HEAD.size:
            length, kind, number = _HEAD.unpack_from(data, start)
            if length > self._most:
                raise FrameError(f"a frame of {length} bytes, of which {self._most} are allowed")
            after = start + _HEAD.size + length
            if after > end:
                break
            self._on_frame(kind, number, data[start + _HEAD.size : after])
            start = after
        if start < end:
            self._held += data[start:]
            self._needed = _HEAD.size if end - start < _HEAD.size else after - start


def frame(kind: Kind, number: int, payload: bytes = b"") -> bytes:
    """The bytes of a frame."""
    return _HEAD.pack(len(payload), kind, number) + payload


def packed(fields: Fields, body: bytes) -> bytes:
    """A payload of fields, whose names and values have no NUL, and a body. Raises ValueError."""
    text = b"\0".join([part for field in fields for part in field])
    if text.count(b"\0") != max(0, 2 * len(fields) - 1) or len(text) > MOST_FIELDS_BYTES:
        raise ValueError("fields must have no NUL and must not be too long")
    return _SIZE.pack(len(text)) + text + body


def unpacked(payload: bytes, start: int = 0) -> tuple[tuple[tuple[bytes, bytes], ...], bytes]:
    """Fields and body of such a payload. Raises FrameError."""
    first = start + _SIZE.size
    if len(payload) < first:
        raise FrameError("a payload without fields")
    after = first + _SIZE.unpack_from(payload, start)[0]
    if after > len(payload):
        raise FrameError("a payload that is too short")
    parts = payload[first:after].split(b"\0") if after > first else []
    if len(parts) % 2:
        raise FrameError("a name without a value")
    return tuple(zip(parts[::2], parts[1::2], strict=True)), payload[after:]


def size(count: int) -> bytes:
    """The payload of MORE."""
    return _SIZE.pack(count)


def size_in(payload: bytes) -> int:
    """The number in such a payload. Raises FrameError."""
    if len(payload) != _SIZE.size:
        raise FrameError("a size of another length")
    return int(_SIZE.unpack(payload)[0])
