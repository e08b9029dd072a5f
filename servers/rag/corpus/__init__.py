"""The documents that are searched, and their checksum."""

import hashlib
import json
import reprlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, Field, ValidationError, ValidationInfo

from servers.rag.corpus import facts
from servers.rag.models import ModelError

Part = TypeVar("Part", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Corpus:
    """Documents in a fixed order: `ids[i]` names `texts[i]`. The checksum covers both."""

    name: str
    ids: tuple[str, ...]
    texts: tuple[str, ...]
    checksum: str = field(init=False)

    def __post_init__(self) -> None:
        if not self.ids:
            raise ModelError(f"corpus {self.name!r} has no documents")
        if len(set(self.ids)) != len(self.ids):
            raise ModelError(f"corpus {self.name!r} has two documents with one id")
        digest = hashlib.sha256()
        for pair in zip(self.ids, self.texts, strict=True):
            digest.update(json.dumps(pair).encode())
        object.__setattr__(self, "checksum", digest.hexdigest()[:16])

    def __len__(self) -> int:
        """The number of documents."""
        return len(self.ids)


def _limited(text: str, info: ValidationInfo) -> str:
    if info.context is not None and len(text) > info.context:
        raise ValueError(f"has {len(text)} characters, --max-document-chars allows {info.context}")
    return text


LIMITED = AfterValidator(_limited)
"""Marks a document's text. The context of a validation is the most characters that it may have, or None."""


class Document(BaseModel):
    """A line of a user's own file. The id may be a number."""

    id: Annotated[str, Field(coerce_numbers_to_str=True, max_length=1024)]
    text: Annotated[str, LIMITED]


def validated(validate: Callable[..., Part], value: Any, place: str, max_chars: int | None) -> Part:
    """The value, which may be the bytes of JSON, by pydantic. Raises ModelError with `place` and the first mistake."""
    try:
        return validate(value.decode("utf-8-sig") if isinstance(value, bytes) else value, context=max_chars)
    except UnicodeDecodeError as error:
        raise ModelError(f"{place}: not UTF-8 ({error.reason} at byte {error.start})") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    mistake = first["msg"].removeprefix("Value error, ").replace(" at line 1 column", " at column")
    raise ModelError(": ".join(filter(None, (place, path, f"{mistake}, got {reprlib.repr(first['input'])}"))))


Pairs = Iterable[tuple[str, str]]


def from_facts(path: Path | None, size: int | None, seed: int, max_chars: int | None) -> Pairs:
    """The generated facts, 10,000 by default."""
    size = facts.DEFAULT_COUNT if size is None else size
    try:
        return [(fact.id, fact.text) for fact in facts.facts(size, seed)]
    except ValueError as error:
        raise ModelError(f"--corpus-size {size}: {error}") from error


def from_jsonl(path: Path | None, size: int | None, seed: int, max_chars: int | None) -> Pairs:
    """A user's own file of `{"id", "text"}` lines."""
    if path is None:
        raise ModelError('the jsonl corpus needs --corpus-path FILE with one {"id", "text"} object a line')
    documents: dict[str, tuple[int, str]] = {}
    try:
        with path.open("rb") as lines:
            filled = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
            for number, line in islice(filled, size):
                place = f"corpus file {path}, line {number}"
                document = validated(Document.model_validate_json, line, place, max_chars)
                if (earlier := documents.setdefault(document.id, (number, document.text)))[0] != number:
                    raise ModelError(f"{place}: the id {document.id!r} is there already, in line {earlier[0]}")
    except OSError as error:
        raise ModelError(f"corpus file {path}: {error.strerror}") from error
    return [(name, text) for name, (_, text) in documents.items()]


def from_squad(path: Path | None, size: int | None, seed: int, max_chars: int | None) -> Pairs:
    """The contexts of a SQuAD file, or of the hub data set without a file."""
    from servers.rag.corpus import squad  # noqa: PLC0415  which imports this module

    return [(passage.id, passage.text) for passage in squad.read(path, size, max_chars=max_chars)]


CORPORA = {"facts": from_facts, "squad": from_squad, "jsonl": from_jsonl}


def load(
    name: str,
    *,
    path: Path | None = None,
    size: int | None = None,
    seed: int = facts.DEFAULT_SEED,
    max_chars: int | None = None,
) -> Corpus:
    """The corpus of that name: the first `size` documents of a file, or all; `size` facts, made from `seed`.

    Raises ModelError, also on a document in a file with more than `max_chars` characters.
    """
    documents = dict(CORPORA[name](path, size, seed, max_chars))
    return Corpus(name, tuple(documents), tuple(documents.values()))
