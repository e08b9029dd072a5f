"""Inverted files: vectors in clusters, of which a search scans the nearest.

Source: Jégou, Douze and Schmid, Product quantization for nearest neighbor search, 2011.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from servers.rag.retrieval import metrics, store
from servers.rag.retrieval.best import Best, Candidates
from servers.rag.retrieval.flat import Flat
from servers.rag.retrieval.kmeans import assign, kmeans
from servers.rag.retrieval.rows import Rows
from servers.rag.retrieval.scan import Scan
from servers.rag.retrieval.spec import Spec

_ARRAYS = ("centroids", "offsets", "ids", "rows", "next_id")


class Ivf(Flat):
    """An Index of kind `ivf`: rows in float32, grouped by the list they belong to, ids ascending within one.

    centroids (l, d) f32; offsets (l + 1,) i64: where the rows of each list begin, and where the last ones end.
    """

    def __init__(self, rows: Rows, spec: Spec, scan: Scan, *, centroids: np.ndarray, offsets: np.ndarray) -> None:
        self._centroids, self._offsets = centroids, offsets
        self._coarse = scan.put(centroids, metrics.squared_norms(centroids))
        super().__init__(rows, spec, scan)

    @classmethod
    def build(cls, vectors: np.ndarray, spec: Spec, scan: Scan) -> "Ivf":
        """Cluster the vectors and put them into lists. Raises ValueError where that cannot be."""
        rows = Rows.of(vectors)
        metrics.squared_norms(rows.vectors)  # raises where they are not finite, before they are clustered
        if not len(vectors):
            raise ValueError(f"index {spec.kind} learns its clusters from vectors, got none")
        rng, lists = np.random.default_rng(spec.seed), spec.lists(len(vectors))
        found = kmeans(rows.vectors, lists, rng=rng, arrays=scan.arrays, metric=_space(spec.metric))
        rows, offsets = _grouped(rows, found.assignments, lists=len(found.centroids))
        return cls(rows, spec, scan, centroids=found.centroids, offsets=offsets)

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], spec: Spec, scan: Scan) -> "Ivf":
        """The index whose arrays `save` wrote. Raises StoreError where one is missing."""
        store.require(arrays, *_ARRAYS)
        rows = Rows(arrays["rows"], arrays["ids"], int(arrays["next_id"]))
        return cls(rows, spec, scan, centroids=arrays["centroids"], offsets=arrays["offsets"])

    @property
    def nbytes(self) -> int:
        """Memory of vectors, norms, ids and centroids."""
        return super().nbytes + self._centroids.nbytes + self._offsets.nbytes

    def search(self, queries: np.ndarray, k: int, *, nprobe: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """As Index has it. `nprobe`: as in Spec, for this search; clipped to the number of lists."""
        nprobe = min(self.spec.nprobe if nprobe is None else nprobe, len(self._centroids))
        if nprobe < 1:
            raise ValueError(f"nprobe must be >= 1, got {nprobe}")
        return self._nearest(queries, k, partial(self._nearest_lists, nprobe=nprobe))

    def add(self, vectors: np.ndarray) -> np.ndarray:
        """As Index has it. The clusters stay; the lists are copied."""
        joined = self._rows.joined(vectors)
        metric, arrays = _space(self.spec.metric), self._scan.arrays
        metrics.squared_norms(joined.vectors[self.shape[0] :])
        labels, _ = assign(joined.vectors[self.shape[0] :], self._centroids, metric=metric, arrays=arrays)
        self._regroup(joined, np.concatenate([self._labels, labels]))
        return joined.ids[self.shape[0] - len(vectors) :]

    def remove(self, ids: np.ndarray) -> int:
        """As Index has it."""
        before, kept = self.shape[0], ~np.isin(self._rows.ids, ids)
        self._regroup(self._rows.part(kept), self._labels[kept])
        return before - self.shape[0]

    def _arrays(self) -> dict[str, np.ndarray]:
        rows = self._rows
        arrays = self._centroids, self._offsets, rows.ids, rows.vectors, np.array(rows.next_id)
        return dict(zip(_ARRAYS, arrays, strict=True))

    @property
    def _labels(self) -> np.ndarray:
        """The list of each row."""
        return np.repeat(np.arange(len(self._centroids)), np.diff(self._offsets))

    def _regroup(self, rows: Rows, labels: np.ndarray) -> None:
        rows, self._offsets = _grouped(rows, labels, lists=len(self._centroids))
        self._index(rows)

    def _nearest_lists(self, queries: np.ndarray, best: Best, k: int, *, nprobe: int) -> None:
        """Scan the nearest list of each query first, which sets the floor, then the others; each list once a round."""
        arrays, ready = self._scan.arrays, self._scan.ready(queries)
        keys = arrays.host(self._scan.keys(ready, self._coarse)).T
        near = np.argpartition(-keys, nprobe - 1, axis=1)[:, :nprobe]
        near = np.take_along_axis(near, np.argsort(-np.take_along_axis(keys, near, axis=1), axis=1), axis=1)

        def look(visit: tuple[int, np.ndarray]) -> Candidates:
            number, of = visit
            part = slice(int(self._offsets[number]), int(self._offsets[number + 1]))
            block = self._held.part(part) if self._held else self._scan.put(self._rows.vectors[part], self._norms[part])
            asked = arrays.xp.take(ready, arrays.put(of), axis=0)
            found = self._scan.near(asked, block, best.floor[of], best.slack[of], k)
            return Candidates(of[found.queries], found.rows + part.start, found.keys)

        for lists in (near[:, :1], near[:, 1:]):
            for found in arrays.map(look, _visits(lists)):
                best.offer(found)
            best.settle()


def _grouped(rows: Rows, labels: np.ndarray, *, lists: int) -> tuple[Rows, np.ndarray]:
    """The rows list by list, and the offsets of the lists. labels (n,) i64: the list of each row."""
    ends = np.cumsum(np.bincount(labels, minlength=lists))
    found = rows.part(np.argsort(labels, kind="stable"))
    vectors = np.ascontiguousarray(found.vectors, dtype=np.float32)
    return replace(found, vectors=vectors), np.concatenate([[0], ends]).astype(np.int64)


def _visits(lists: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Each list to scan, with its queries (c,) i64. lists (q, p) i64."""
    order = np.argsort(lists.ravel(), kind="stable")
    numbers, firsts = np.unique(lists.ravel()[order], return_index=True)
    queries = order // max(1, lists.shape[1])
    return list(zip(numbers.tolist(), np.split(queries, firsts)[1:], strict=True))


def _space(metric: str) -> str:
    """The metric of the clusters: l2 for inner products too, which have no means of their own."""
    return "cosine" if metric == "cosine" else "l2"
