"""Inverted files: vectors in clusters, of which a search looks into the nearest. How it looks is up to a Scan.

Source: Jégou, Douze and Schmid, Product quantization for nearest neighbor search, 2011.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from servers.rag.retrieval import metrics, pq, store
from servers.rag.retrieval.kmeans import assign, kmeans, unit
from servers.rag.retrieval.lists import Lists
from servers.rag.retrieval.pq import Quantiser
from servers.rag.retrieval.scan import Scan
from servers.rag.retrieval.spec import Spec

__all__ = ["Ivf"]

_ITERATIONS = 10
_TRAINING = 1 << 16  # vectors that a quantiser is trained on
_BLOCK_BYTES = 1 << 25
_ARRAYS = ("centroids", "offsets", "ids", "norms", "rows")


class Ivf:
    """See Index. Kinds `ivf`: lists of vectors in float32, whatever `spec.dtype`; `ivf_pq`: lists of codes.

    With codes the vectors stay as they were given, perhaps mapped from a file: re-ranking reads a few of them.
    """

    def __init__(
        self, spec: Spec, lists: Lists, scan: Scan, *, next_id: int, vectors: np.ndarray | None = None
    ) -> None:
        self._spec, self._lists, self._scan = spec, lists, scan
        self._next_id, self._vectors = next_id, vectors
        self._find = scan.over(lists, spec.metric)

    @classmethod
    def build(cls, vectors: np.ndarray, spec: Spec, scan: Scan) -> "Ivf":
        """Cluster the vectors and put them into lists. Raises ValueError where that cannot be."""
        vectors = metrics.checked_vectors(vectors)
        norms = metrics.squared_norms(vectors)
        if not len(vectors):
            raise ValueError(f"index {spec.kind} learns its clusters from vectors, got none")
        if spec.kind == "ivf_pq":
            pq.require_parts(vectors.shape[1], spec.m)
        for_clusters, for_books = np.random.default_rng(spec.seed).spawn(2)
        clusters = kmeans(
            vectors,
            spec.lists(len(vectors)),
            rng=for_clusters,
            arrays=scan.arrays,
            metric=_space(spec.metric),
            iterations=_ITERATIONS,
        )
        labels, ids = clusters.assignments, np.arange(len(vectors))
        centroids, rows, quantiser = clusters.centroids, vectors, None
        if spec.kind == "ivf_pq":
            chosen = np.sort(for_books.permutation(len(vectors))[:_TRAINING])
            left = _residuals(vectors[chosen], labels[chosen], centroids, spec.metric)
            quantiser = pq.train(left, spec.m, rng=for_books, arrays=scan.arrays)
            rows, norms = _encoded(vectors, labels, centroids, quantiser, spec.metric, scan)
        lists = Lists.grouped(centroids, labels, ids=ids, norms=norms, rows=rows, quantiser=quantiser)
        return cls(spec, lists, scan, next_id=len(vectors), vectors=vectors if quantiser else None)

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], spec: Spec, scan: Scan) -> "Ivf":
        """The index whose arrays `save` wrote. Raises StoreError where one is missing."""
        is_coded = spec.kind == "ivf_pq"
        names = [*_ARRAYS, "next_id", *(["books", "vectors"] if is_coded else [])]
        if missing := [name for name in names if name not in arrays]:
            raise store.StoreError(f"an index of kind {spec.kind} needs the arrays {', '.join(missing)}")
        quantiser = Quantiser(arrays["books"]) if is_coded else None
        lists = Lists(**{name: arrays[name] for name in _ARRAYS}, quantiser=quantiser)
        return cls(spec, lists, scan, next_id=int(arrays["next_id"]), vectors=arrays["vectors"] if is_coded else None)

    @property
    def spec(self) -> Spec:
        """See Index."""
        return self._spec

    @property
    def shape(self) -> tuple[int, int]:
        """See Index."""
        return len(self._lists.ids), self._lists.centroids.shape[1]

    @property
    def nbytes(self) -> int:
        """See Index: vectors or codes, ids, norms, centroids, codebooks; not the vectors that re-ranking reads."""
        return self._lists.nbytes

    def search(
        self, queries: np.ndarray, k: int, nprobe: int | None = None, rerank: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """See Index. `nprobe` and `rerank`: as in Spec, for this search; nprobe is clipped to the number of lists."""
        queries = metrics.checked_queries(queries, self.shape[1])
        nprobe = min(self._spec.nprobe if nprobe is None else nprobe, len(self._lists.centroids))
        rerank = self._spec.rerank if rerank is None else rerank
        if k < 0 or nprobe < 1 or rerank < 0:
            raise ValueError(f"k and rerank must be >= 0 and nprobe >= 1, got {k}, {rerank} and {nprobe}")
        k = min(k, self.shape[0])
        if not len(queries) or not k:
            return np.empty((len(queries), k), dtype=np.int64), np.empty((len(queries), k), dtype=np.float32)
        if self._vectors is None or not rerank:
            ids, keys = self._find(queries, nprobe, k)
        else:
            ids, _ = self._find(queries, nprobe, min(rerank * k, self.shape[0]))
            keys = self._scan.compare(self._spec.metric, queries, self._vectors, ids)
            order = np.lexsort((ids, -keys))[:, :k]
            ids, keys = np.take_along_axis(ids, order, axis=1), np.take_along_axis(keys, order, axis=1)
        return ids, metrics.scores(self._spec.metric, keys)

    def add(self, vectors: np.ndarray) -> np.ndarray:
        """See Index. They go to the clusters there are; it copies the lists, and with codes the vectors into memory."""
        vectors = metrics.checked_vectors(vectors)
        if vectors.shape[1] != self.shape[1]:
            raise ValueError(f"vectors must have {self.shape[1]} dimensions, got shape {vectors.shape}")
        norms, centroids, metric = metrics.squared_norms(vectors), self._lists.centroids, self._spec.metric
        labels, _ = assign(vectors, centroids, metric=_space(metric), arrays=self._scan.arrays)
        ids, rows = np.arange(self._next_id, self._next_id + len(vectors)), vectors
        if self._lists.quantiser is not None and self._vectors is not None:
            rows, norms = _encoded(vectors, labels, centroids, self._lists.quantiser, metric, self._scan)
            self._vectors = np.concatenate([self._vectors, vectors])
        self._replace(self._lists.joined(labels, ids=ids, norms=norms, rows=rows))
        self._next_id += len(vectors)
        return ids

    def remove(self, ids: np.ndarray) -> int:
        """See Index. With codes the vectors themselves stay where they are, out of reach."""
        before = self.shape[0]
        self._replace(self._lists.without(ids))
        return before - self.shape[0]

    def save(self, folder: Path) -> None:
        """See Index."""
        arrays = {name: getattr(self._lists, name) for name in _ARRAYS}
        if self._lists.quantiser is not None and self._vectors is not None:
            arrays |= {"books": self._lists.quantiser.books, "vectors": self._vectors}
        store.write(folder, self._spec.as_dict(), arrays | {"next_id": np.array(self._next_id)})

    def _replace(self, lists: Lists) -> None:
        self._lists, self._find = lists, self._scan.over(lists, self._spec.metric)


def _space(metric: str) -> str:
    """The metric that clusters are made by: means make none for inner products, which get those of l2."""
    return "cosine" if metric == "cosine" else "l2"


def _residuals(vectors: np.ndarray, labels: np.ndarray, centroids: np.ndarray, metric: str) -> np.ndarray:
    """What is left of each vector, for cosine at length 1, when its list's centroid is subtracted."""
    rows = np.asarray(vectors, dtype=np.float32)
    return (unit(rows) if metric == "cosine" else rows) - centroids[labels]


def _encoded(
    vectors: np.ndarray, labels: np.ndarray, centroids: np.ndarray, quantiser: Quantiser, metric: str, scan: Scan
) -> tuple[np.ndarray, np.ndarray]:
    """Codes (n, m) u8 of vectors, and the squared norms (n,) of what they stand for; in blocks."""
    codes, norms = np.empty((len(vectors), quantiser.m), dtype=np.uint8), np.empty(len(vectors), dtype=np.float32)
    step = max(1, _BLOCK_BYTES // (4 * vectors.shape[1]))
    for start in range(0, len(vectors), step):
        part = slice(start, start + step)
        codes[part] = quantiser.encode(_residuals(vectors[part], labels[part], centroids, metric), scan.arrays)
        norms[part] = metrics.squared_norms(quantiser.decode(codes[part]) + centroids[labels[part]])
    return codes, norms
