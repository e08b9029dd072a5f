"""Product quantisation: a vector as m bytes. Searches nothing.

Source: Jégou, Douze and Schmid, Product quantization for nearest neighbor search, 2011.
"""

from dataclasses import dataclass

import numpy as np

from servers.rag.retrieval.arrays import Arrays
from servers.rag.retrieval.kmeans import assign, kmeans

__all__ = ["Quantiser", "require_parts", "train"]

_CENTROIDS = 256  # what a byte can name
_ITERATIONS = 12


@dataclass(frozen=True, slots=True)
class Quantiser:
    """Codebooks (m, c, d/m) f32, c <= 256: the j-th part of a vector is named by its nearest centroid in book j."""

    books: np.ndarray

    @property
    def m(self) -> int:
        """Bytes of a code."""
        return len(self.books)

    def encode(self, vectors: np.ndarray, arrays: Arrays) -> np.ndarray:
        """Codes (n, m) u8 of vectors (n, d) f32."""
        codes = np.empty((len(vectors), self.m), dtype=np.uint8)
        for j, part in enumerate(_parts(vectors, self.m)):
            codes[:, j] = assign(part, self.books[j], metric="l2", arrays=arrays)[0]
        return codes

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """The vectors (n, d) f32 that the codes (n, m) stand for."""
        m, size, width = self.books.shape
        return self.books.reshape(m * size, width)[codes + np.arange(m) * size].reshape(len(codes), m * width)

    def tables(self, queries: np.ndarray) -> np.ndarray:
        """Inner products of each query's parts with the books, (q, m, c) f32: query . decoded is a sum of m of them."""
        parts = np.stack(_parts(queries, self.m))
        return np.ascontiguousarray((parts @ self.books.transpose(0, 2, 1)).transpose(1, 0, 2))


def train(vectors: np.ndarray, m: int, *, rng: np.random.Generator, arrays: Arrays) -> Quantiser:
    """A quantiser for vectors (n, d) f32 like these: k-means in each of m parts, on at most 65,536 of them.

    Raises ValueError where m does not divide d.
    """
    require_parts(vectors.shape[1], m)
    size = min(_CENTROIDS, len(vectors))
    streams = rng.spawn(m)
    parts = zip(_parts(vectors, m), streams, strict=True)
    books = [kmeans(part, size, rng=stream, arrays=arrays, iterations=_ITERATIONS).centroids for part, stream in parts]
    return Quantiser(np.stack(books))


def require_parts(dimensions: int, m: int) -> None:
    """Raise ValueError, with the valid values, where m does not divide the dimensions."""
    if dimensions % m:
        valid = [str(n) for n in range(1, dimensions + 1) if dimensions % n == 0]
        raise ValueError(f"m must divide the {dimensions} dimensions: one of {', '.join(valid)}, got {m}")


def _parts(vectors: np.ndarray, m: int) -> list[np.ndarray]:
    """The m parts of each vector, (n, d/m) each, contiguous."""
    return [np.ascontiguousarray(part) for part in np.split(vectors, m, axis=1)]
