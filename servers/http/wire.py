"""The bodies of `POST /rag` and of its answers."""

from dataclasses import dataclass
from typing import Annotated

import msgspec
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from servers.rag.pipeline import Answered
from servers.telemetry import metrics

_PROMPT_TOKENS, _COMPLETION_TOKENS = (metrics.TOKENS.labels(kind) for kind in ("prompt", "completion"))
_json = msgspec.json.Encoder().encode


def _as_integer(number: object) -> object:
    """2.0 as 2: JSON has no integers. Strings and booleans stay what they are, and are refused."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


Count = Annotated[int, Field(ge=1), BeforeValidator(_as_integer)]


class Question(BaseModel):
    """The body of `POST /rag`."""

    model_config = ConfigDict(strict=True)

    query: str = Field(min_length=1, max_length=20_000, json_schema_extra={"pattern": r"\S"})
    k: Count = 2
    max_new_tokens: Count | None = None

    @field_validator("query")
    @classmethod
    def _not_blank(cls, query: str) -> str:
        if not query.strip():
            raise ValueError("must not be blank")
        return query


class Document(BaseModel):
    """One retrieved document. Scores are comparable within one answer only."""

    id: str
    text: str
    score: float


class Usage(BaseModel):
    """Tokens of the prompt (without padding) and of the answer (without the end token)."""

    prompt_tokens: int
    completion_tokens: int


class Answer(BaseModel):
    """The body of a 200."""

    query: str
    result: str
    documents: list[Document]
    model: str
    usage: Usage | None


@dataclass(frozen=True, slots=True)
class Served:
    """The JSON of an answer, and what its headers say; `stage_s` in seconds."""

    body: bytes
    stage_s: dict[str, float]
    batch_size: int
    close_reason: str | None = None


def served(
    answered: Answered, *, model: str, queue_s: float, batch_size: int, close_reason: str | None = None
) -> Served:
    """The answer as it is sent: the JSON of an Answer, made without its models, which would cost more than the rest."""
    body = _json(
        {
            "query": answered.query,
            "result": answered.result,
            "documents": [{"id": hit.id, "text": hit.text, "score": hit.score} for hit in answered.documents],
            "model": model,
            "usage": _usage(answered.prompt_tokens, answered.completion_tokens),
        }
    )
    return Served(body, {"queue": queue_s, **answered.stage_s}, batch_size, close_reason)


def _usage(prompt_tokens: int | None, completion_tokens: int | None) -> dict[str, int] | None:
    """Token counts, added to the metrics; None if a model server does not give them."""
    if prompt_tokens is None or completion_tokens is None:
        return None
    _PROMPT_TOKENS.inc(prompt_tokens)
    _COMPLETION_TOKENS.inc(completion_tokens)
    return {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
