"""Completes `/openapi.json` with what FastAPI does not know: tasks, and all errors with their form."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from servers.errors import SCOPE, DeadlinePassed, QuestionFailed, QueueFull, Unavailable, UpstreamFailed
from servers.http.endpoints import ENDPOINTS, Endpoint
from servers.settings import Settings

_HEADERS = {
    "Server-Timing": "ms of each stage (W3C Server-Timing)",
    "X-Batch-Size": "how many questions were answered together",
    "X-Batch-Close": "why the batch closed",
    "X-Replica": "who answered",
}


class Fault(BaseModel):
    """One mistake in the input."""

    loc: list[str | int]
    msg: str
    type: str


class Problem(BaseModel):
    """The body of every error."""

    detail: str | list[Fault]


def describe(app: FastAPI, settings: Settings, *, answered: Sequence[Endpoint]) -> None:
    """Complete the schema. `answered` are the tasks, whose bodies FastAPI does not know."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = generate()
            schema["components"] = {"schemas": _components(schema, settings, answered)}
            schema["paths"] |= {task.path: {task.method.lower(): _task(task)} for task in answered}
            for path, methods in schema["paths"].items():
                for operation in methods.values():
                    _complete(operation, ENDPOINTS[path], has_key=settings.api_key is not None)
            if settings.api_key is not None:
                schema["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        assert app.openapi_schema is not None, "generate() sets it"
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # as in FastAPI's documentation


def _components(schema: dict[str, Any], settings: Settings, answered: Sequence[Endpoint]) -> dict[str, Any]:
    models: list[tuple[type[BaseModel], JsonSchemaMode]] = [(Problem, "serialization")]
    models += [(task.question, "validation") for task in answered if task.question is not None]
    models += [(task.answer, "serialization") for task in answered if task.answer is not None]
    _, defined = models_json_schema(models, ref_template="#/components/schemas/{model}")
    for task in answered:
        fields = defined["$defs"][_name(task.question)]["properties"]
        if "k" in fields:
            fields["k"]["maximum"] = settings.max_k
        fields["max_new_tokens"]["anyOf"][0]["maximum"] = settings.max_new_tokens
    own = schema.get("components", {}).get("schemas", {})
    return {name: model for name, model in own.items() if "ValidationError" not in name} | defined["$defs"]


def _task(endpoint: Endpoint) -> dict[str, Any]:
    answer = _answer("The answer", _name(endpoint.answer)) | {
        "headers": {name: {"description": text, "schema": {"type": "string"}} for name, text in _HEADERS.items()}
    }
    kinds = (QueueFull, QuestionFailed, UpstreamFailed, Unavailable, DeadlinePassed)
    errors = {str(kind.status): _error(kind.__doc__ or "") for kind in kinds}
    body = {"required": True, "content": {"application/json": {"schema": _model(_name(endpoint.question))}}}
    return {"summary": str(endpoint.task).capitalize(), "requestBody": body, "responses": {"200": answer, **errors}}


def _complete(operation: dict[str, Any], endpoint: Endpoint, *, has_key: bool) -> None:
    """Add the errors that several routes share."""
    errors = {"400": "The request names more than one Host", "403": "Host is not this server's, or Origin another site"}
    if "requestBody" in operation:
        errors |= {"413": "The body is too large", "422": "The body is invalid; the text names the field"}
    errors |= {str(status): text for status, text in endpoint.errors.items()}
    if has_key and not endpoint.is_open:
        errors["401"] = "The key is missing or wrong"
        operation["security"] = [{"key": []}]
    operation["responses"] |= {status: _error(text) for status, text in errors.items()}
    for status in ("429", "503"):
        if status in operation["responses"]:
            operation["responses"][status]["headers"] = {"Retry-After": _header("integer", "seconds")}
    for status in ("429", "500", "502"):
        if status in operation["responses"]:
            scope = _header("string", "server: another one may have room; request: none would do better")
            operation["responses"][status].setdefault("headers", {})[SCOPE] = scope
    if "401" in errors:
        operation["responses"]["401"]["headers"] = {"WWW-Authenticate": _header("string", "Bearer")}


def _name(model: type[BaseModel] | None) -> str:
    assert model is not None, "a task has a question and an answer"
    return model.__name__


def _error(text: str) -> dict[str, Any]:
    return _answer(text, Problem.__name__)


def _answer(text: str, model: str) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": _model(model)}}}


def _model(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _header(kind: str, text: str) -> dict[str, Any]:
    return {"description": text, "schema": {"type": kind}}
