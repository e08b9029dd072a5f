"""Lists searched by products of matrices in numpy, torch or cupy: each list once, for all queries that look into it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from servers.rag.retrieval import metrics
from servers.rag.retrieval.arrays import Arrays
from servers.rag.retrieval.kmeans import unit
from servers.rag.retrieval.lists import Lists
from servers.rag.retrieval.scan import Find
from servers.rag.retrieval.spec import Spec

__all__ = ["ArrayScan"]

_KEYS = 1 << 24  # floats that the keys of a block of queries may take
_LOWEST = float(np.finfo(np.float32).min)


@dataclass(frozen=True, slots=True)
class ArrayScan:
    """See Scan."""

    arrays: Arrays

    def over(self, lists: Lists, metric: str) -> Find:
        """See Scan."""
        return _ArrayFind(lists, metric, self.arrays)

    def compare(self, metric: str, queries: np.ndarray, vectors: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """See Scan."""
        keys = np.full(ids.shape, -np.inf)
        rows, columns = np.nonzero(ids >= 0)
        keys[rows, columns] = metrics.exact_keys(metric, queries, rows, vectors, ids[rows, columns])
        return keys


@dataclass(frozen=True, slots=True)
class _Probes:
    """Where the keys of each list go: in row r, from column starts[r, i] on, those of list lists[r, i]."""

    lists: np.ndarray
    starts: np.ndarray
    width: int

    @classmethod
    def into(cls, lists: np.ndarray, sizes: np.ndarray) -> "_Probes":
        """One list after the other, as many columns as the longest row of them wants."""
        ends = np.cumsum(sizes[lists], axis=1)
        return cls(lists, ends - sizes[lists], max(1, int(ends[:, -1].max())))

    def places(self, rows: np.ndarray, columns: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """The row of all lists' rows whose key is at (row, column)."""
        firsts = (self.starts + np.arange(len(self.starts))[:, None] * self.width).ravel()
        probe = np.searchsorted(firsts, rows * self.width + columns, side="right") - 1
        return offsets[self.lists.ravel()[probe]] + columns - self.starts.ravel()[probe]


class _ArrayFind:
    """Lists on the device. All keys to their rows are computed; those that may be among the best are computed again."""

    def __init__(self, lists: Lists, metric: str, arrays: Arrays) -> None:
        self._lists, self._metric, self._arrays = lists, metric, arrays
        centroids = unit(lists.centroids) if metric == "cosine" else lists.centroids
        self._centroids, self._rows, self._norms = (arrays.put(a) for a in (centroids, lists.rows, lists.norms))
        self._largest_norm = float(np.sqrt(lists.norms.max(initial=0)))
        self._books: Any = arrays.put(lists.quantiser.books) if lists.quantiser else None

    def __call__(self, queries: np.ndarray, nprobe: int, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See Find."""
        ids, keys = np.full((len(queries), k), -1, dtype=np.int64), np.full((len(queries), k), -np.inf)
        widest = int(np.sort(self._lists.sizes)[-nprobe:].sum())
        step = max(1, _KEYS // max(widest, len(self._lists.centroids)))
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            ids[part], keys[part] = self._block(queries[part], nprobe, k)
        return ids, keys

    def _block(self, queries: np.ndarray, nprobe: int, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The same for as many queries as there is memory for."""
        arrays, lists = self._arrays, self._lists
        turned = arrays.put(unit(queries) if self._metric == "cosine" else queries)
        probes = _Probes.into(arrays.host(self._nearest(turned, nprobe)), lists.sizes)
        keys = self._keys(turned, probes)
        rows, columns = arrays.xp.nonzero(keys >= self._threshold(queries, keys, k))
        near = arrays.host(keys[rows, columns]).astype(np.float64)
        rows, columns = arrays.host(rows), arrays.host(columns)
        places = probes.places(rows, columns, lists.offsets)
        if lists.quantiser is None:
            near = metrics.exact_keys(self._metric, queries, rows, lists.rows, places)
        elif self._metric == "l2":
            near -= metrics.squared_norms(queries)[rows]
        return _first(rows, lists.ids[places], near, shape=(len(queries), k))

    def _nearest(self, queries: Any, nprobe: int) -> Any:
        """The nprobe nearest lists of each query, (q, nprobe), in no order that counts."""
        keys = queries @ self._centroids.T
        if self._metric == "l2":
            keys -= 0.5 * self._arrays.xp.sum(self._centroids * self._centroids, axis=1)
        return self._arrays.top_k(keys, nprobe)[1]

    def _keys(self, queries: Any, probes: _Probes) -> Any:
        """Keys (q, width) of each query and the rows of its lists, -inf where a query has fewer."""
        xp, arrays = self._arrays.xp, self._arrays
        keys = arrays.zeros(len(queries), probes.width) - float("inf")
        order = np.argsort(probes.lists.ravel(), kind="stable")
        found, firsts = np.unique(probes.lists.ravel()[order], return_index=True)
        rows, starts = arrays.put(order // probes.lists.shape[1]), arrays.put(probes.starts.ravel()[order])
        columns = arrays.put(np.arange(int(self._lists.sizes.max(initial=0))))
        for number, first, end in zip(found, firsts, [*firsts[1:], len(order)], strict=True):
            part = slice(int(self._lists.offsets[number]), int(self._lists.offsets[number + 1]))
            here = rows[first:end]
            block = self._against(xp.take(queries, here, axis=0), part, number)
            keys[here[:, None], starts[first:end][:, None] + columns[: part.stop - part.start]] = block
        return keys

    def _against(self, queries: Any, part: slice, number: int) -> Any:
        """Keys of queries (c, d) and a list's rows; for l2 without the query's own norm."""
        if self._books is None:
            keys = queries @ self._rows[part].T
            if self._metric == "cosine":
                norms = self._arrays.xp.sqrt(self._norms[part])
                return keys / self._arrays.xp.where(norms > 0, norms, self._arrays.xp.ones_like(norms))
        else:
            keys = queries @ (self._decoded(part) + self._centroids[number]).T
        return 2 * keys - self._norms[part] if self._metric == "l2" else keys

    def _decoded(self, part: slice) -> Any:
        """What the codes stand for, as Quantiser.decode, on the device."""
        xp, (m, size, width) = self._arrays.xp, self._books.shape
        places = xp.astype(self._rows[part], xp.int64) + self._arrays.put(np.arange(m) * size)
        books = xp.reshape(self._books, (m * size, width))
        return xp.reshape(xp.take(books, xp.reshape(places, (-1,)), axis=0), (-1, m * width))

    def _threshold(self, queries: np.ndarray, keys: Any, k: int) -> Any:
        """A key (q, 1) that none of the k best is under, whatever the rounding."""
        if k > keys.shape[1]:
            return _LOWEST
        kth = self._arrays.host(self._arrays.kth_best(keys, k)).astype(np.float64)
        if self._books is None:
            kth -= 2 * metrics.margin(
                kth,
                spec=Spec(self._metric),
                dimensions=queries.shape[1],
                terms=metrics.error_terms(queries.shape[1]),
                query_norms=np.sqrt(metrics.squared_norms(queries)),
                largest_norm=self._largest_norm,
                is_direct=False,
            )
        return self._arrays.put(np.maximum(kth, _LOWEST).astype(np.float32)[:, None])


def _first(
    rows: np.ndarray, ids: np.ndarray, keys: np.ndarray, *, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """The best of each row, ties by lowest id, -1 and -inf where there are fewer. (c,) each -> ids, keys of `shape`."""
    best_ids, best_keys = np.full(shape, -1, dtype=np.int64), np.full(shape, -np.inf)
    order = np.lexsort((ids, -keys, rows))
    rows = rows[order]
    rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
    order, rows, rank = (a[rank < shape[1]] for a in (order, rows, rank))
    best_ids[rows, rank], best_keys[rows, rank] = ids[order], keys[order]
    return best_ids, best_keys
