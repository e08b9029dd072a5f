"""Every Prometheus metric of the servers, declared once. Base units; counters end in `_total`."""

from prometheus_client import Counter, Gauge, Histogram

__all__ = [
    "BATCHES",
    "BATCH_SIZE",
    "QUEUE_DEPTH",
    "QUEUE_WAIT",
    "REPLICAS",
    "REQUESTS",
    "REQUEST_SECONDS",
    "RETRIES",
    "SCALINGS",
    "STAGE_SECONDS",
]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

REQUESTS = Counter("rag_requests", "Requests to /rag by HTTP status", ["status"])
REQUEST_SECONDS = Histogram("rag_request_seconds", "Time from the first byte in to the answer", buckets=_SECONDS)
QUEUE_DEPTH = Gauge("rag_queue_depth", "Requests waiting for a batch")
QUEUE_WAIT = Histogram("rag_queue_wait_seconds", "Time a request waited before its run", buckets=_SECONDS)
BATCH_SIZE = Histogram("rag_batch_size", "Requests in a batch", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256))
BATCHES = Counter("rag_batches", "Batches by the reason that closed them", ["reason"])
STAGE_SECONDS = Histogram("rag_stage_seconds", "Time of one run of a pipeline stage", ["stage"], buckets=_SECONDS)
REPLICAS = Gauge("rag_replicas", "Replicas of the fleet by state", ["state"])
SCALINGS = Counter("rag_scaling_decisions", "Changes of the number of replicas by direction", ["direction"])
RETRIES = Counter("rag_retries", "Requests sent to another replica after one failed")
