"""Frames: what is packed comes out as it was, however the bytes are cut, and what is no frame is an error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.http.connection.frames import FrameError, FrameReader, Kind, frame, packed, size, size_in, unpacked

TEXT = st.binary(max_size=40).map(lambda raw: raw.replace(b"\0", b""))
FIELDS = st.lists(st.tuples(TEXT, TEXT), max_size=6)
FRAMES = st.lists(st.tuples(st.sampled_from(Kind), st.integers(0, 2**32 - 1), st.binary(max_size=200)), max_size=8)


def read(*pieces: bytes, most: int = 1000) -> list[tuple[int, int, bytes]]:
    found: list[tuple[int, int, bytes]] = []
    reader = FrameReader(lambda *each: found.append(each), most=most)
    for piece in pieces:
        reader.feed(piece)
    return found


@given(frames=FRAMES, cuts=st.lists(st.integers(1, 50)))
def test_frames_are_read_as_they_were_written_wherever_the_bytes_are_cut(
    frames: list[tuple[Kind, int, bytes]], cuts: list[int]
) -> None:
    data, pieces = b"".join(frame(*each) for each in frames), []
    for cut in cuts:
        pieces.append(data[:cut])
        data = data[cut:]
    assert read(*pieces, data) == frames


@given(fields=FIELDS, body=st.binary(max_size=100))
def test_fields_and_body_come_out_as_they_went_in(fields: list[tuple[bytes, bytes]], body: bytes) -> None:
    if fields != [(b"", b"")]:  # which is written as none are
        assert unpacked(packed(fields, body)) == (tuple(fields), body)


@given(payload=st.binary(max_size=60))
def test_any_payload_is_fields_and_a_body_or_an_error(payload: bytes) -> None:
    try:
        fields, body = unpacked(payload)
    except FrameError:
        return
    assert packed(fields, body) == payload or fields == ((b"", b""),)


@pytest.mark.attack
@pytest.mark.parametrize("field", [(b"a\0b", b"c"), (b"a", b"\0"), (b"a", b"x" * 70_000)])
def test_a_field_that_would_be_read_as_two_or_is_too_long_is_not_packed(field: tuple[bytes, bytes]) -> None:
    with pytest.raises(ValueError, match="fields"):
        packed([field], b"")


@pytest.mark.attack
def test_a_frame_over_the_limit_is_refused_by_its_head_alone() -> None:
    head = frame(Kind.ASK, 1, b"x" * 1001)[:9]
    with pytest.raises(FrameError, match="1001 bytes"):
        read(head)


def test_a_size_has_four_bytes() -> None:
    assert size_in(size(70_000)) == 70_000
    with pytest.raises(FrameError):
        size_in(b"123")
