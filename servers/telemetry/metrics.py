"""Every Prometheus metric of the servers, declared once. Base units; counters end in `_total`."""

from collections.abc import Callable, Iterable

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.registry import Collector

disable_created_metrics()  # a gauge with the creation time of each series, which nothing reads
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_START_SECONDS = (0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320)

# every design
REQUESTS = Counter("rag_requests", "Requests to /rag by HTTP status", ["status"])
REQUEST_SECONDS = Histogram("rag_request_seconds", "Time from the first byte in to the answer", buckets=_SECONDS)
SHED = Counter("rag_shed", "Requests refused at the door by reason", ["reason"])
EXPIRED = Counter(
    "rag_expired", "Requests dropped because their client left or their deadline passed, by place", ["place"]
)
DUPLICATES = Counter("rag_duplicates", "Requests whose id was here before, and which were given the same answer")

# the pipeline and its queue
HANGS = Counter("rag_engine_hangs", "Times that the engine had work and made no progress")
FAILED_QUESTIONS = Counter(
    "rag_failed_questions", "Questions that failed although their neighbours were answered, by error", ["error"]
)
QUEUE_DEPTH = Gauge("rag_queue_depth", "Requests waiting for a batch, or for their turn")
QUEUE_WAIT = Histogram("rag_queue_wait_seconds", "Time a request waited before its run", buckets=_SECONDS)
PREDICTED_WAIT = Gauge("rag_predicted_wait_seconds", "Wait that the queue and the measured rate predict")
BATCH_SIZE = Histogram("rag_batch_size", "Requests in a batch", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256))
BATCHES = Counter("rag_batches", "Batches by the reason that closed them", ["reason"])
STAGE_SECONDS = Histogram("rag_stage_seconds", "Time of one run of a pipeline stage", ["stage"], buckets=_SECONDS)
TOKENS = Counter("rag_tokens", "Tokens of answered requests by kind: prompt or completion", ["kind"])

# the fleet
REPLICAS = Gauge("rag_replicas", "Replicas of the fleet by state", ["state"])
OUTSTANDING = Gauge("rag_outstanding_requests", "Requests that were sent to replicas and are not answered")
TRY_SECONDS = Histogram("rag_try_seconds", "Time of one try at one replica", buckets=_SECONDS)
RETRIES = Counter("rag_retries", "Requests sent to another replica after one failed")
EJECTIONS = Counter("rag_ejections", "Replicas taken out of the rotation for a while, by reason", ["reason"])
SCALINGS = Counter("rag_scaling_decisions", "Changes of the number of replicas by direction", ["direction"])
REPLICA_START_SECONDS = Histogram(
    "rag_replica_start_seconds", "Time from starting a replica until it was ready", buckets=_START_SECONDS
)
HAPROXY_FAILURES = Counter("rag_haproxy_failures", "Times that HAProxy could not be kept in step with the fleet")
REPLICA_ENDS = Counter("rag_replica_ends", "Replica processes that ended, by reason", ["reason"])

_QUEUE = (SHED, EXPIRED, DUPLICATES, QUEUE_DEPTH, QUEUE_WAIT)
_PIPELINE = (BATCH_SIZE, BATCHES, STAGE_SECONDS, HANGS, FAILED_QUESTIONS, TOKENS)
OVER_REPLICAS: dict[Collector, Callable[[Iterable[float]], float]] = {
    **dict.fromkeys((*_QUEUE, *_PIPELINE), sum),
    PREDICTED_WAIT: max,
}
"""How the metrics of the replicas are combined in the fleet's /metrics. The others are the balancer's own, since they
would count each request twice."""
