"""What `/openapi.json` says beyond what FastAPI finds out: `POST /rag`, every error and its form. Serves nothing."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from servers.errors import SCOPE, DeadlinePassed, Forbidden, QuestionFailed, QueueFull, Unavailable, UpstreamFailed
from servers.http.middleware import OPEN
from servers.settings import Settings

__all__ = ["Problem", "describe"]

_HEADERS = {
    "Server-Timing": "ms of each stage, as the W3C has it",
    "X-Batch-Size": "how many questions were answered together",
    "X-Batch-Close": "why the batch closed",
    "X-Replica": "who answered",
}


class Fault(BaseModel):
    """One thing that is wrong with the input."""

    loc: list[str | int]
    msg: str
    type: str


class Problem(BaseModel):
    """The body of every error."""

    detail: str | list[Fault]


def describe(app: FastAPI, settings: Settings, *, question: type[BaseModel], answer: type[BaseModel]) -> None:
    """Complete the schema. `POST /rag` is described here for every design: FastAPI knows nothing of its body."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = made()
            schema["components"] = {"schemas": _components(schema, settings, question, answer)}
            schema["paths"]["/rag"] = {"post": _rag(question.__name__, answer.__name__)}
            for path, methods in schema["paths"].items():
                for operation in methods.values():
                    _complete(operation, path, has_key=settings.api_key is not None)
            if settings.api_key is not None:
                schema["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        assert app.openapi_schema is not None, "FastAPI keeps what it made"
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # the way that FastAPI's documentation has it


def _components(
    schema: dict[str, Any], settings: Settings, question: type[BaseModel], answer: type[BaseModel]
) -> dict[str, Any]:
    _, defined = models_json_schema(
        [(question, "validation"), (answer, "serialization"), (Problem, "serialization")],
        ref_template="#/components/schemas/{model}",
    )
    asked = defined["$defs"][question.__name__]["properties"]
    asked["k"]["maximum"] = settings.max_k
    asked["max_new_tokens"]["anyOf"][0]["maximum"] = settings.max_new_tokens
    own = schema.get("components", {}).get("schemas", {})
    return {name: model for name, model in own.items() if "ValidationError" not in name} | defined["$defs"]


def _rag(question: str, answer: str) -> dict[str, Any]:
    told = _answer("The answer", answer) | {
        "headers": {name: {"description": text, "schema": {"type": "string"}} for name, text in _HEADERS.items()}
    }
    kinds = (QueueFull, QuestionFailed, UpstreamFailed, Unavailable, DeadlinePassed)
    errors = {str(kind.status): _error(kind.__doc__ or "") for kind in kinds}
    asked = {"required": True, "content": {"application/json": {"schema": _model(question)}}}
    return {"summary": "Rag", "requestBody": asked, "responses": {"200": told, **errors}}


def _complete(operation: dict[str, Any], path: str, *, has_key: bool) -> None:
    """Add the errors that several routes share, each in the form in which it is sent."""
    errors = {"400": "The request names more than one Host", "403": "Host is not this server's, or Origin another site"}
    if "requestBody" in operation:
        errors |= {"413": "The body is too large", "422": "The body asks amiss; the text names the field"}
    if path in ("/ready", "/assign"):
        errors["503"] = Unavailable.__doc__ or ""
    if path in ("/register", "/unregister"):
        errors |= {"400": "The body is not even text, or Host is there twice", "403": Forbidden.__doc__ or ""}
    if has_key and path not in OPEN:
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


def _error(text: str) -> dict[str, Any]:
    return _answer(text, Problem.__name__)


def _answer(text: str, model: str) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": _model(model)}}}


def _model(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _header(kind: str, text: str) -> dict[str, Any]:
    return {"description": text, "schema": {"type": kind}}
