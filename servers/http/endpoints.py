"""Every path of a server, as one table. No path is spelt anywhere else. Answers nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel

from servers.errors import Forbidden, Unavailable
from servers.http.wire import Answer, Question

__all__ = [
    "ASSIGN",
    "ENDPOINTS",
    "HEALTH",
    "INFO",
    "METRICS",
    "RAG",
    "READY",
    "REGISTER",
    "REPLICAS",
    "SCALING",
    "TASKS",
    "UNREGISTER",
    "Endpoint",
]

_BAD_REQUEST = "The body is not even text, or Host is there twice"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One path.

    `task` is what the models do for it: its requests are counted, timed, traced and, by a fleet, passed on to a
    replica; `question` and `answer` are its bodies, and an answer `streams` where the question asks for it. One that
    `is_open` is asked without a key, by whoever watches the server. One that `says_load` has X-Replica and X-Load.
    `errors` are those that no other path has, by their status.
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


RAG = Endpoint("/rag", "POST", task="rag", question=Question, answer=Answer, says_load=True)
HEALTH = Endpoint("/health", is_open=True)
READY = Endpoint("/ready", is_open=True, says_load=True, errors={503: Unavailable.__doc__ or ""})
INFO = Endpoint("/info")
METRICS = Endpoint("/metrics")
REPLICAS = Endpoint("/replicas")
SCALING = Endpoint("/scaling")
ASSIGN = Endpoint("/assign", errors={503: Unavailable.__doc__ or ""})
REGISTER = Endpoint("/register", "POST", errors={400: _BAD_REQUEST, 403: Forbidden.__doc__ or ""})
UNREGISTER = Endpoint("/unregister", "POST", errors={400: _BAD_REQUEST, 403: Forbidden.__doc__ or ""})

ENDPOINTS = {
    one.path: one for one in (RAG, HEALTH, READY, INFO, METRICS, REPLICAS, SCALING, ASSIGN, REGISTER, UNREGISTER)
}
TASKS = tuple(one for one in ENDPOINTS.values() if one.task is not None)
