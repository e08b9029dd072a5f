"""FAISS behind the contract: flat, IVF, IVF-PQ and HNSW on the CPU, flat and IVF on a GPU where faiss-gpu is installed.

FAISS leaves the order of ties open and rounds in float32; so some more than k are asked for, and compared again here.
"""

from pathlib import Path
from typing import Any

import numpy as np

from servers.rag.retrieval import store
from servers.rag.retrieval.metrics import (
    checked_queries,
    error_terms,
    exact_keys,
    margin,
    scores,
    squared_norms,
)
from servers.rag.retrieval.place import Place, RetrieverMissing
from servers.rag.retrieval.rows import Rows
from servers.rag.retrieval.spec import Spec

__all__ = ["FaissIndex", "build", "library", "restore"]

_SLACK = 8  # more than k that are asked for, in case of ties
_HNSW_LINKS = 32  # FAISS's own default


class FaissIndex:
    """See Index. FAISS keeps a copy of the vectors; those given are kept too, to compare, add, remove and save.

    Adding and removing build anew. With codes the best `rerank` times k are compared by the vectors themselves.
    """

    def __init__(self, rows: Rows, spec: Spec, place: Place, *, raw: Any = None) -> None:
        self.spec, self._place, self._faiss = spec, place, library(place)
        self._take(rows, raw)

    def _take(self, rows: Rows, raw: Any = None) -> None:
        norms = squared_norms(rows.vectors)
        self.raw = self._made(rows.vectors) if raw is None else raw
        self._rows, self._vectors, self._largest_norm = rows, rows.vectors, float(np.sqrt(norms.max(initial=0)))
        self._refined: Any = None

    @property
    def shape(self) -> tuple[int, int]:
        """See Index."""
        return self._rows.shape

    @property
    def nbytes(self) -> int:
        """See Index: what FAISS would write to a file."""
        return int(self._faiss.serialize_index(self._on_cpu()).nbytes)

    def search(
        self,
        queries: np.ndarray,
        k: int,
        *,
        nprobe: int | None = None,
        rerank: int | None = None,
        ef_search: int | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """See Index; the three settings are the spec's unless given."""
        queries = checked_queries(queries, self.shape[1])
        squared = squared_norms(queries)
        if k < 0:
            raise ValueError(f"k must be >= 0, got {k}")
        k = min(k, len(self._vectors))
        if k == 0 or len(queries) == 0:
            return np.empty((len(queries), k), dtype=np.int64), np.empty((len(queries), k), dtype=np.float32)
        rerank = self.spec.rerank if rerank is None else rerank
        self.configure(nprobe=nprobe, ef_search=ef_search)
        if self.spec.kind == "ivf_pq" and rerank == 0:
            keys, rows = self.raw_search(queries, k)
            return self._told(rows, keys)
        asked = min(len(self._vectors), max(k + _SLACK, rerank * k if self.spec.kind == "ivf_pq" else 0))
        while True:
            near, rows = self.raw_search(queries, asked)
            if self.spec.kind != "flat" or asked == len(self._vectors) or self._is_enough(near, k, np.sqrt(squared)):
                return self._compared(queries, rows, k)
            asked = min(len(self._vectors), 4 * asked)

    def configure(self, *, nprobe: int | None = None, ef_search: int | None = None) -> None:
        """Set how widely an approximate index looks; the spec's unless given."""
        if self.spec.kind in {"ivf", "ivf_pq"}:
            self.raw.nprobe = min(self.spec.nprobe if nprobe is None else nprobe, self.raw.nlist)
        elif self.spec.kind == "hnsw":
            self.raw.hnsw.efSearch = self.spec.ef_search if ef_search is None else ef_search

    def raw_search(self, queries: np.ndarray, k: int, *, rerank: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """FAISS's own search. -> keys (q, k) f32, larger is nearer, and rows (q, k) i64, -1 where there is none.

        `rerank`: by FAISS's own IndexRefineFlat, which wants vectors in memory, in float32, and not cosine.
        """
        if self._place.threads is not None:
            self._faiss.omp_set_num_threads(self._place.threads)
        index = self.raw
        if rerank:
            if self._refined is None:
                self._refined = self._faiss.IndexRefineFlat(self.raw, self._faiss.swig_ptr(self._vectors))
            index = self._refined
            index.k_factor = rerank
        found, rows = index.search(self._prepared(queries), k)
        return (found if self.spec.metric in {"ip", "cosine"} else -found), rows

    def add(self, vectors: np.ndarray) -> np.ndarray:
        """See Index."""
        self._take(self._rows.joined(vectors))
        return self._rows.ids[self.shape[0] - len(vectors) :].copy()

    def remove(self, ids: np.ndarray) -> int:
        """See Index."""
        before = self.shape[0]
        self._take(self._rows.without(ids))
        return before - self.shape[0]

    def save(self, folder: Path) -> None:
        """See Index; FAISS's own bytes beside the vectors, so that no graph has to be built again."""
        arrays = self._rows.arrays()
        if self.spec.kind != "flat":
            arrays["faiss"] = self._faiss.serialize_index(self._on_cpu())
        store.write(folder, self.spec.as_dict(), arrays)

    def _prepared(self, vectors: np.ndarray) -> np.ndarray:
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        if self.spec.metric != "cosine":
            return vectors
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)

    def _made(self, vectors: np.ndarray) -> Any:
        faiss, spec, (count, dimensions) = self._faiss, self.spec, vectors.shape
        if self._place.threads is not None:
            faiss.omp_set_num_threads(self._place.threads)
        kind = {"l2": faiss.METRIC_L2, "l1": faiss.METRIC_L1}.get(spec.metric, faiss.METRIC_INNER_PRODUCT)
        coarse = faiss.IndexFlat(dimensions, faiss.METRIC_L2 if spec.metric == "l2" else faiss.METRIC_INNER_PRODUCT)
        if spec.kind == "flat":
            made = faiss.IndexFlat(dimensions, kind)
        elif spec.kind == "ivf":
            made = faiss.IndexIVFFlat(coarse, dimensions, spec.lists(count), kind)
        elif spec.kind == "ivf_pq":
            if dimensions % spec.m:
                raise ValueError(f"m must divide the {dimensions} dimensions of the vectors, got {spec.m}")
            made = faiss.IndexIVFPQ(coarse, dimensions, spec.lists(count), spec.m, 8, kind)
        else:
            made = faiss.IndexHNSWFlat(dimensions, _HNSW_LINKS, kind)
        if self._place.device == "cuda":
            made = faiss.index_cpu_to_all_gpus(made)
        prepared = self._prepared(vectors)
        if not made.is_trained:
            try:
                made.train(prepared)
            except RuntimeError as error:  # too few vectors for so many centroids
                raise ValueError(f"FAISS cannot train index {spec.kind} on {count} vectors: {error}") from error
        made.add(prepared)
        return made

    def _on_cpu(self) -> Any:
        return self._faiss.index_gpu_to_cpu(self.raw) if self._place.device == "cuda" else self.raw

    def _is_enough(self, near: np.ndarray, k: int, query_norms: np.ndarray) -> bool:
        """Whether what was not told of cannot be among the k best, by how far FAISS's float32 may be off."""
        kth = near[:, k - 1]
        allowed = margin(
            kth,
            spec=self.spec,
            dimensions=self.shape[1],
            terms=max(error_terms(self.shape[1]), self.shape[1] // 8 + 12),  # its own loops add in eight lanes
            query_norms=query_norms,
            largest_norm=self._largest_norm,
            is_direct=self.spec.metric == "l1",
        )
        return bool((near[:, -1] < kth - 2 * allowed).all())

    def _compared(self, queries: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        keys = np.full(rows.shape, -np.inf)
        of, place = np.nonzero(rows >= 0)
        keys[of, place] = exact_keys(self.spec.metric, queries, of, self._vectors, rows[of, place])
        shown = scores(self.spec.metric, keys)
        order = np.lexsort((rows, shown if self.spec.metric in {"l1", "l2"} else -shown), axis=1)[:, :k]
        return self._told(np.take_along_axis(rows, order, axis=1), np.take_along_axis(keys, order, axis=1))

    def _told(self, rows: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        keys = np.where(rows >= 0, keys, -np.inf)
        return np.where(rows >= 0, self._rows.ids[rows], -1), scores(self.spec.metric, keys)


def build(vectors: np.ndarray, spec: Spec, place: Place) -> FaissIndex:
    """See retrieval.build."""
    return FaissIndex(Rows.of(vectors), spec, place)


def restore(arrays: dict[str, np.ndarray], spec: Spec, place: Place) -> FaissIndex:
    """See retrieval.load."""
    rows, raw = Rows.restored(arrays), None
    if spec.kind != "flat":
        store.require(arrays, "faiss")
        raw = library(place).deserialize_index(np.asarray(arrays["faiss"]))
    return FaissIndex(rows, spec, place, raw=raw)


def library(place: Place) -> Any:
    """FAISS, well set. Raises RetrieverMissing."""
    try:
        import faiss  # noqa: PLC0415
    except ImportError:
        raise RetrieverMissing("retriever faiss: it is not installed; `pip install faiss-cpu` (extra faiss)") from None
    # At the wheel's own 128,000, batches of 32 took five times as long as at 20, which FAISS's documentation gives.
    faiss.cvar.distance_compute_blas_threshold = 20
    if place.device == "cuda" and not (hasattr(faiss, "get_num_gpus") and faiss.get_num_gpus()):
        raise RetrieverMissing("retriever faiss: this FAISS sees no GPU; install faiss-gpu, or use device cpu")
    return faiss
