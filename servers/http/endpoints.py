"""The table of all paths of a server. No path is spelt anywhere else."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel

from servers.errors import DeadlinePassed, Forbidden, QuestionFailed, QueueFull, Unavailable, UpstreamFailed
from servers.http.wire import Answer, Question

_BAD_REQUEST = "The body is no text, or there are two Host headers"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One path.

    `task`: what the models do for it. Requests of a task are counted, timed, traced and, by a fleet, sent to a replica.
    `question` and `answer` are its bodies; `streams`: the answer is streamed on request. `is_open`: needs no key.
    `says_load`: answers have X-Replica and X-Load. `errors` are those of this path alone, by status.
    """

    path: str
    method: Literal["GET", "POST"] = "GET"
    task: str | None = None
    question: type[BaseModel] | None = None
    answer: type[BaseModel] | None = None
    streams: bool = False
    is_open: bool = False
    says_load: bool = False
    errors: Mapping[int, str] = field(default_factory=dict)


_TASK_ERRORS = {
    kind.status: kind.__doc__ or "" for kind in (QueueFull, QuestionFailed, UpstreamFailed, Unavailable, DeadlinePassed)
}
RAG = Endpoint("/rag", "POST", task="rag", question=Question, answer=Answer, says_load=True, errors=_TASK_ERRORS)
HEALTH = Endpoint("/health", is_open=True)
READY = Endpoint("/ready", is_open=True, says_load=True, errors={503: Unavailable.__doc__ or ""})
INFO = Endpoint("/info")
METRICS = Endpoint("/metrics")
REPLICAS = Endpoint("/replicas")
SCALING = Endpoint("/scaling")
ASSIGN = Endpoint("/assign", errors={503: Unavailable.__doc__ or ""})
REGISTER = Endpoint("/register", "POST", errors={400: _BAD_REQUEST, 403: Forbidden.__doc__ or ""})
UNREGISTER = Endpoint("/unregister", "POST", errors={400: _BAD_REQUEST, 403: Forbidden.__doc__ or ""})

_ALL = (RAG, HEALTH, READY, INFO, METRICS, REPLICAS, SCALING, ASSIGN, REGISTER, UNREGISTER)
ENDPOINTS = {endpoint.path: endpoint for endpoint in _ALL}
TASKS = tuple(endpoint for endpoint in _ALL if endpoint.task is not None)
