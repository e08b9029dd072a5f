"""What an inverted file holds: rows grouped by the list they belong to. Clusters and searches nothing."""

from dataclasses import dataclass, replace

import numpy as np

from servers.rag.retrieval.pq import Quantiser

__all__ = ["Lists"]


@dataclass(frozen=True, slots=True)
class Lists:
    """Rows grouped by list, ids ascending within one.

    centroids (l, d) f32; list i is the rows offsets[i]:offsets[i + 1], offsets (l + 1,) i64; ids (n,) i64; norms (n,)
    f32, squared lengths of the vectors, or of the decoded ones; rows (n, d) f32, the vectors, or with a quantiser
    (n, m) u8, codes of what is left when the centroid is subtracted.
    """

    centroids: np.ndarray
    offsets: np.ndarray
    ids: np.ndarray
    norms: np.ndarray
    rows: np.ndarray
    quantiser: Quantiser | None = None

    @classmethod
    def grouped(
        cls,
        centroids: np.ndarray,
        labels: np.ndarray,
        *,
        ids: np.ndarray,
        norms: np.ndarray,
        rows: np.ndarray,
        quantiser: Quantiser | None = None,
    ) -> "Lists":
        """Lists of rows in order of id; `labels` (n,) says which list each is in."""
        order = np.argsort(labels, kind="stable")
        ends = np.cumsum(np.bincount(labels, minlength=len(centroids)))
        offsets = np.concatenate([[0], ends]).astype(np.int64)
        rows = np.ascontiguousarray(rows[order], dtype=None if quantiser else np.float32)
        return cls(centroids, offsets, ids[order], norms[order], rows, quantiser)

    @property
    def sizes(self) -> np.ndarray:
        """Rows in each list."""
        return np.diff(self.offsets)

    @property
    def labels(self) -> np.ndarray:
        """The list of each row."""
        return np.repeat(np.arange(len(self.centroids)), self.sizes)

    @property
    def nbytes(self) -> int:
        """Memory of all of it."""
        books = self.quantiser.books.nbytes if self.quantiser else 0
        return books + sum(a.nbytes for a in (self.centroids, self.offsets, self.ids, self.norms, self.rows))

    def joined(self, labels: np.ndarray, *, ids: np.ndarray, norms: np.ndarray, rows: np.ndarray) -> "Lists":
        """With more rows, whose ids are above all of those here."""
        return Lists.grouped(
            self.centroids,
            np.concatenate([self.labels, labels]),
            ids=np.concatenate([self.ids, ids]),
            norms=np.concatenate([self.norms, norms]),
            rows=np.concatenate([self.rows, rows]),
            quantiser=self.quantiser,
        )

    def without(self, ids: np.ndarray) -> "Lists":
        """Less the rows with these ids."""
        kept = ~np.isin(self.ids, ids)
        gone = np.bincount(self.labels[~kept], minlength=len(self.centroids))
        offsets = self.offsets - np.concatenate([[0], np.cumsum(gone)])
        return replace(self, offsets=offsets, ids=self.ids[kept], norms=self.norms[kept], rows=self.rows[kept])
