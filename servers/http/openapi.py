"""Completes `/openapi.json` with what FastAPI does not know: tasks, and all errors with their form."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from servers.errors import SCOPE
from servers.http.endpoints import ENDPOINTS, TASKS, Endpoint
from servers.settings import Settings


class Fault(BaseModel):
    """One mistake in the input."""

    loc: list[str | int]
    msg: str
    type: str


class Problem(BaseModel):
    """The body of every error."""

    detail: str | list[Fault]


def _header(text: str, kind: str = "string") -> dict[str, Any]:
    return {"description": text, "schema": {"type": kind}}


_TASK_HEADERS = {
    "Server-Timing": _header("ms of each stage (W3C Server-Timing)"),
    "X-Batch-Size": _header("how many questions were answered together"),
    "X-Batch-Close": _header("why the batch closed"),
    "X-Replica": _header("who answered"),
}
_RETRY_AFTER = {"Retry-After": _header("seconds", "integer")}
_SCOPE = {SCOPE: _header("server: another one may have room; request: none would do better")}
_ERROR_HEADERS = {
    401: {"WWW-Authenticate": _header("Bearer")},
    429: _RETRY_AFTER | _SCOPE,
    500: _SCOPE,
    502: _SCOPE,
    503: _RETRY_AFTER,
}


def add_task_route(app: FastAPI, endpoint: Endpoint) -> None:
    """A route that is in the schema, and answers 405 to other methods. The task itself is answered without it."""

    async def task(body: Any) -> None:
        raise NotImplementedError

    task.__annotations__["body"] = endpoint.question
    answers: dict[int | str, dict[str, Any]] = {200: {"description": "The answer", "headers": _TASK_HEADERS}}
    summary = str(endpoint.task).capitalize()
    app.add_api_route(
        endpoint.path,
        task,
        methods=[endpoint.method],
        summary=summary,
        response_model=endpoint.answer,
        responses=answers,
    )


def describe(app: FastAPI, settings: Settings) -> None:
    """Make the schema, which FastAPI keeps, and complete it."""
    schema = app.openapi()
    parts = schema.setdefault("components", {})
    models = parts.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own form, which has the input too
        models.pop(name, None)
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    models |= problem.pop("$defs") | {Problem.__name__: problem}
    questions = (task.question.__name__ for task in TASKS if task.question is not None)
    for question in (models[name] for name in questions if name in models):  # a design may answer no task
        if "k" in question["properties"]:
            question["properties"]["k"]["maximum"] = settings.max_k
        question["properties"]["max_new_tokens"]["anyOf"][0]["maximum"] = settings.max_new_tokens
    if settings.api_key is not None:
        parts["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for path, methods in schema["paths"].items():
        for operation in methods.values():
            _add_errors(operation, ENDPOINTS[path], has_key=settings.api_key is not None)


def _add_errors(operation: dict[str, Any], endpoint: Endpoint, *, has_key: bool) -> None:
    errors = {400: "The request names more than one Host", 403: "Host is not this server's, or Origin another site"}
    if "requestBody" in operation:
        errors |= {413: "The body is too large", 422: "The body is invalid; the text names the field"}
    errors |= endpoint.errors
    if has_key and not endpoint.is_open:
        errors[401] = "The key is missing or wrong"
        operation["security"] = [{"key": []}]
    body = {"application/json": {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}}
    for status, text in errors.items():
        answer = {"description": text, "content": body, "headers": _ERROR_HEADERS.get(status, {})}
        operation["responses"][str(status)] = answer
