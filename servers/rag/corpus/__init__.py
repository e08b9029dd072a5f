"""The documents that are searched, and their checksum."""

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from servers.rag.corpus import facts
from servers.rag.models import ModelError

_LONGEST_ID = 1024  # characters


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


def from_facts(path: Path | None, size: int | None, seed: int, max_chars: int | None) -> Corpus:
    """The generated facts, 10,000 by default."""
    size = facts.DEFAULT_COUNT if size is None else size
    try:
        made = facts.facts(size, seed)
    except ValueError as error:
        raise ModelError(f"--corpus-size {size}: {error}") from error
    return Corpus("facts", tuple(fact.id for fact in made), tuple(fact.text for fact in made))


def from_jsonl(path: Path | None, size: int | None, seed: int, max_chars: int | None) -> Corpus:
    """A user's own file of `{"id", "text"}` lines."""
    if path is None:
        raise ModelError('the jsonl corpus needs --corpus-path FILE with one {"id", "text"} object a line')
    lines_of: dict[str, int] = {}
    texts: list[str] = []
    try:
        with path.open("rb") as lines:
            filled = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
            for number, line in islice(filled, size):
                where = f"corpus file {path}, line {number}"
                name, text = _document(line, where, max_chars=max_chars)
                if name in lines_of:
                    raise ModelError(f"{where}: the id {name!r} is there already, in line {lines_of[name]}")
                lines_of[name] = number
                texts.append(text)
    except OSError as error:
        raise ModelError(f"corpus file {path}: {error.strerror}") from error
    return Corpus("jsonl", tuple(lines_of), tuple(texts))


def _document(line: bytes, where: str, *, max_chars: int | None) -> tuple[str, str]:
    """The id, which may be a number, and the text of one line."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise ModelError(f"{where}: not UTF-8 ({error.reason} at byte {error.start})") from error
    name: str | None = None
    with suppress(ValueError, RecursionError):
        match json.loads(text.removeprefix("\ufeff")):
            case {"id": str() | int() as number, "text": str() as body}:
                name = str(number)
    if name is None:
        raise ModelError(f'{where}: wanted {{"id", "text"}}, got {text.strip()[:80]!r}')
    if len(name) > _LONGEST_ID:
        raise ModelError(f"{where}: the id has {len(name)} characters, at most {_LONGEST_ID} are allowed")
    if fault := _unwritable(name):
        raise ModelError(f"{where}: the id {fault}")
    if fault := too_long(body, max_chars) or _unwritable(body):
        raise ModelError(f"{where}: the text {fault}")
    return name, body


def _unwritable(text: str) -> str | None:
    """What is wrong with a text that UTF-8 cannot write: JSON's escapes can hold a lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"holds {text[error.start]!r} at character {error.start}, which UTF-8 cannot write"
    return None


def too_long(text: str, max_chars: int | None) -> str | None:
    """What is wrong with a text of more than `max_chars` characters, or None."""
    if max_chars is None or len(text) <= max_chars:
        return None
    return f"has {len(text)} characters, --max-document-chars allows {max_chars}"


def from_squad(path: Path | None, size: int | None, seed: int, max_chars: int | None) -> Corpus:
    """The contexts of a SQuAD file, or of the hub data set without a file."""
    from servers.rag.corpus import squad  # noqa: PLC0415  a command too, which would be imported twice

    read = squad.read(path, size, max_chars=max_chars)
    return Corpus("squad", tuple(passage.id for passage in read), tuple(passage.text for passage in read))


Load = Callable[[Path | None, int | None, int, int | None], Corpus]
CORPORA: dict[str, Load] = {"facts": from_facts, "squad": from_squad, "jsonl": from_jsonl}


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
    return CORPORA[name](path, size, seed, max_chars)
