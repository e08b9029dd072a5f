"""What one search cannot do without: bytes moved and floating point operations. Times nothing."""

from servers.measure.retrieval.job import Contender, Job, Point

__all__ = ["of_kmeans", "of_search"]

_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
_OPERATIONS = {"ip": 2, "cosine": 2, "l2": 2, "l1": 3}
"""For a number of a vector and one of a query: multiply and add; for l1 subtract, make positive, add."""


def of_search(job: Job, contender: Contender, point: Point, lists: int | None) -> tuple[float, float] | None:
    """Bytes and operations of a batch: every vector read once. None where they are not known (codes, graphs).

    Of an inverted file: the centroids, and the lists that any query of the batch looks into, as if each took its own
    at random; a list is read once.
    """
    size, d = _BYTES[contender.dtype] if contender.device == "cuda" else 4, job.d
    batch_bytes = 4.0 * d * point.batch
    if contender.index == "flat":
        return job.n * d * size + batch_bytes, float(_OPERATIONS[job.metric]) * point.batch * job.n * d
    if contender.index == "ivf" and lists:
        share = min(1.0, (point.nprobe or 8) / lists)
        operations = 2.0 * point.batch * d * (lists + job.n * share)
        read = job.n * (1 - (1 - share) ** point.batch)
        return 4.0 * d * (lists + read) + batch_bytes, operations
    return None


def of_kmeans(job: Job, clusters: int, iterations: int) -> tuple[float, float]:
    """Bytes and operations of so many assignments of every vector."""
    return 4.0 * iterations * job.n * job.d, 2.0 * iterations * job.n * job.d * clusters
