"""What can go wrong with a request, its status and its public text. Raised anywhere, answered by http/task.py.

    RequestError
    |-- BadRequest        422  the request asks for something that this server does not offer
    |-- BodyTooLarge      413  the body is longer than it may be
    |-- Forbidden         403  an admin route, from elsewhere or without the token
    |-- QueueFull         429  come back later
    |-- UpstreamBusy      429  the model server that we ask says so
    |-- QuestionFailed    500  this question makes the pipeline fail
    |-- UpstreamFailed    502  the model server that we ask failed
    |-- Unavailable       503  not warm yet, draining, or no replica: come back later, or go elsewhere
    |   `-- EngineEnded   503  the engine ended with this question in it
    |-- DeadlinePassed    504  the answer did not come in time
    `-- ClientGone        499  nobody is there to read the answer (never seen by a client, only by the metrics)

Any other exception is a bug (500).
"""

SCOPE = "X-Error-Scope"
"""Header of an error: `request` where another server would answer the same, so that a balancer asks none; `server`
where another may have room; `engine` where the question may be what ended the engine."""


class RequestError(Exception):
    """A request that is answered with an error; `str(error)` is the public text."""

    status = 500
    scope: str | None = None

    def __init__(self, detail: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class BadRequest(RequestError):
    """The client's fault: the text names the field."""

    status = 422


class BodyTooLarge(RequestError):
    """The body is longer than it may be."""

    status = 413


class Forbidden(RequestError):
    """The caller may not do this."""

    status = 403


class QueueFull(RequestError):
    """Admission refused the request."""

    status = 429
    scope = "server"


class UpstreamBusy(RequestError):
    """The model server has no room for the request."""

    status = 429
    scope = "request"


class QuestionFailed(RequestError):
    """The pipeline fails at this question, and answers others."""

    status = 500
    scope = "request"


class UpstreamFailed(RequestError):
    """The model server failed, or refused what is ours: the key, the model's name."""

    status = 502
    scope = "request"


class Unavailable(RequestError):
    """Not ready, draining, or without a replica to ask."""

    status = 503


class EngineEnded(Unavailable):
    """The engine ended with this question in it: another server may answer it, or end as well."""

    scope = "engine"


class DeadlinePassed(RequestError):
    """`request_timeout_s` went by."""

    status = 504


class ClientGone(RequestError):
    """The client hung up; its work is dropped."""

    status = 499
