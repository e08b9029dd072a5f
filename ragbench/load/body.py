"""The body of an answer, read no further than one may be long. What it holds is judged elsewhere."""

import aiohttp

__all__ = ["MOST_ANSWER", "MOST_TOLD", "BodyTooLong", "read_body"]

_MIB = 1 << 20
MOST_ANSWER = 16 * _MIB  # bytes of an answer to a question: fifty documents of 200,000 letters fit
MOST_TOLD = 4 * _MIB  # of what a service tells of itself


class BodyTooLong(ValueError):
    """There is more of a body than is read."""


async def read_body(response: aiohttp.ClientResponse, *, most: int) -> bytes:
    """The body, decompressed. Raises BodyTooLong past `most` bytes, by when the connection is closed."""
    chunks: list[bytes] = []
    size = 0
    while chunk := await response.content.readany():
        size += len(chunk)
        if size > most:
            response.close()
            raise BodyTooLong(f"the answer is longer than {most // _MIB} MiB, and is not read further")
        chunks.append(chunk)
    return b"".join(chunks)
