"""FAISS's own indexes on the CPU: flat, IVF, IVF-PQ and HNSW.

FAISS rounds in float32 and leaves the order of ties open, so a search asks for more than k and compares these again.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from servers.rag.retrieval import store
from servers.rag.retrieval.kmeans import unit
from servers.rag.retrieval.metrics import checked_queries, exact_keys, margin, ranked, squared_norms
from servers.rag.retrieval.rows import Rows, Stored
from servers.rag.retrieval.spec import Place, RetrieverMissing, Spec

_SLACK = 8  # candidates beyond k, in case of ties
_HNSW_LINKS = 32  # FAISS's own default


class FaissIndex(Stored):
    """An Index. FAISS copies the vectors; the original ones stay too, to compare, add, remove and save.

    Adding and removing rebuild it. With codes the best `rerank` times k are compared by the vectors themselves.
    """

    def __init__(self, rows: Rows, spec: Spec, place: Place, *, raw: Any = None) -> None:
        self.spec, self._place, self._faiss = spec, place, library(place)
        self._take(rows, raw)

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray], spec: Spec, place: Place) -> "FaissIndex":
        """The index whose arrays `save` wrote. Raises StoreError where one is missing."""
        rows, raw = Rows.restored(arrays), None
        if spec.kind != "flat":
            store.require(arrays, "faiss")
            raw = library(place).deserialize_index(np.asarray(arrays["faiss"]))
        return cls(rows, spec, place, raw=raw)

    def _take(self, rows: Rows, raw: Any = None) -> None:
        norms = squared_norms(rows.vectors)
        self.raw = self._made(rows.vectors) if raw is None else raw
        self._rows, self._largest_norm = rows, float(np.sqrt(norms.max(initial=0)))
        self._refined: Any = None

    @property
    def nbytes(self) -> int:
        """What FAISS would write to a file."""
        return int(self._faiss.serialize_index(self.raw).nbytes)

    def search(
        self,
        queries: np.ndarray,
        k: int,
        *,
        nprobe: int | None = None,
        rerank: int | None = None,
        ef_search: int | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """As Index has it. The three settings default to those of the spec."""
        kind, (count, dimensions) = self.spec.kind, self.shape
        queries = checked_queries(queries, dimensions, k)
        norms = np.sqrt(squared_norms(queries))
        k = min(k, count)
        if k == 0 or len(queries) == 0:
            return np.empty((len(queries), k), dtype=np.int64), np.empty((len(queries), k), dtype=np.float32)
        rerank = self.spec.rerank if rerank is None else rerank
        self.configure(nprobe=nprobe, ef_search=ef_search)
        if kind == "ivf_pq" and rerank == 0:
            keys, rows = self.raw_search(queries, k)
            of, places = np.nonzero(rows >= 0)
            return self._ranked(of, places, rows, keys, k)
        asked = min(count, max(k + _SLACK, rerank * k if kind == "ivf_pq" else 0))
        near, rows = self.raw_search(queries, asked)
        while kind == "flat" and asked < count and not self._is_enough(near, k, norms):
            asked = min(count, 4 * asked)
            near, rows = self.raw_search(queries, asked)
        of, places = np.nonzero(rows >= 0)
        keys = np.empty(rows.shape)
        keys[of, places] = exact_keys(self.spec.metric, queries, of, self._rows.vectors, rows[of, places])
        return self._ranked(of, places, rows, keys, k)

    def configure(self, *, nprobe: int | None = None, ef_search: int | None = None) -> None:
        """Set how widely an approximate index searches; the defaults are those of the spec."""
        if self.spec.kind in {"ivf", "ivf_pq"}:
            self.raw.nprobe = min(self.spec.nprobe if nprobe is None else nprobe, self.raw.nlist)
        elif self.spec.kind == "hnsw":
            self.raw.hnsw.efSearch = self.spec.ef_search if ef_search is None else ef_search

    def raw_search(self, queries: np.ndarray, k: int, *, rerank: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """FAISS's own search. -> keys (q, k) f32, larger is nearer, and rows (q, k) i64, -1 where there is none.

        `rerank`: by FAISS's own IndexRefineFlat, which wants vectors in memory, in float32, and not cosine.
        """
        self._set_threads()
        index = self.raw
        if rerank:
            if self._refined is None:
                self._refined = self._faiss.IndexRefineFlat(self.raw, self._faiss.swig_ptr(self._rows.vectors))
            index = self._refined
            index.k_factor = rerank
        found, rows = index.search(self._prepared(queries), k)
        return (found if self.spec.metric in {"ip", "cosine"} else -found), rows

    def _arrays(self) -> dict[str, np.ndarray]:
        """FAISS's own bytes beside the vectors: no graph is built again."""
        arrays = super()._arrays()
        if self.spec.kind != "flat":
            arrays["faiss"] = self._faiss.serialize_index(self.raw)
        return arrays

    def _made(self, vectors: np.ndarray) -> Any:
        faiss, spec, (count, dimensions) = self._faiss, self.spec, vectors.shape
        self._set_threads()
        kind = {"l2": faiss.METRIC_L2, "l1": faiss.METRIC_L1}.get(spec.metric, faiss.METRIC_INNER_PRODUCT)
        coarse = faiss.IndexFlat(dimensions, faiss.METRIC_L2 if spec.metric == "l2" else faiss.METRIC_INNER_PRODUCT)
        if spec.kind == "flat":
            made = faiss.IndexFlat(dimensions, kind)
        elif spec.kind == "ivf":
            made = faiss.IndexIVFFlat(coarse, dimensions, spec.lists(count), kind)
        elif spec.kind == "ivf_pq":
            if dimensions % spec.m:
                valid = ", ".join(str(m) for m in range(1, dimensions + 1) if dimensions % m == 0)
                raise ValueError(f"m must divide the {dimensions} dimensions: one of {valid}, got {spec.m}")
            made = faiss.IndexIVFPQ(coarse, dimensions, spec.lists(count), spec.m, 8, kind)
        else:
            made = faiss.IndexHNSWFlat(dimensions, _HNSW_LINKS, kind)
        prepared = self._prepared(vectors)
        if not made.is_trained:
            try:
                made.train(prepared)
            except RuntimeError as error:  # too few vectors for so many centroids
                raise ValueError(f"FAISS cannot train index {spec.kind} on {count} vectors: {error}") from error
        made.add(prepared)
        return made

    def _prepared(self, vectors: np.ndarray) -> np.ndarray:
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        return unit(vectors) if self.spec.metric == "cosine" else vectors

    def _set_threads(self) -> None:
        if self._place.threads is not None:
            self._faiss.omp_set_num_threads(self._place.threads)

    def _is_enough(self, near: np.ndarray, k: int, query_norms: np.ndarray) -> bool:
        """Whether no other row can be among the k best, given the largest error of FAISS's float32."""
        metric = self.spec.metric
        largest_norm: float | np.ndarray = self._largest_norm
        if metric == "l2":  # squares of differences, or of the norms' numbers, are added up in float32
            metric, query_norms = "ip", query_norms + largest_norm
            largest_norm = query_norms
        allowed = margin(
            metric,
            dtype="float32",
            halves=0,
            dimensions=self.shape[1],
            query_norms=query_norms,
            largest_norm=largest_norm,
        )
        return bool((near[:, -1] < near[:, k - 1] - 2 * allowed).all())

    def _ranked(
        self, of: np.ndarray, places: np.ndarray, rows: np.ndarray, keys: np.ndarray, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        ids = self._rows.ids[rows[of, places]]
        return ranked(self.spec.metric, of, ids, keys[of, places], shape=(len(rows), k))


def library(place: Place) -> Any:
    """FAISS with its threshold for BLAS set. Raises RetrieverMissing."""
    if place.device != "cpu":
        raise RetrieverMissing(f"retriever faiss runs on the CPU alone, not on {place.device}")
    try:
        import faiss  # noqa: PLC0415
    except ImportError:
        raise RetrieverMissing("retriever faiss: it is not installed; `pip install faiss-cpu` (extra faiss)") from None
    # At the wheel's own 128,000, batches of 32 took five times as long as at 20, which FAISS's documentation gives.
    faiss.cvar.distance_compute_blas_threshold = 20
    return faiss
