"""The documents that are searched: which there are, and their checksum. Embeds nothing."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from servers.rag.corpus import facts
from servers.rag.models import ModelError

__all__ = ["CORPORA", "Corpus", "load", "too_long"]

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


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which documents: the first `size` of a file, or all; of facts so many. `max_chars` is the longest text."""

    path: Path | None
    size: int | None
    seed: int
    max_chars: int | None


def from_facts(wanted: _Wanted) -> Corpus:
    """The generated facts, 10,000 unless a size is wanted."""
    size = facts.DEFAULT_COUNT if wanted.size is None else wanted.size
    try:
        made = facts.facts(size, wanted.seed)
    except ValueError as error:
        raise ModelError(f"--corpus-size {size}: {error}") from error
    return Corpus("facts", tuple(fact.id for fact in made), tuple(fact.text for fact in made))


def from_jsonl(wanted: _Wanted) -> Corpus:
    """A user's own file of `{"id", "text"}` lines."""
    path = wanted.path
    if path is None:
        raise ModelError('the jsonl corpus needs --corpus-path FILE with one {"id", "text"} object a line')
    lines_of: dict[str, int] = {}
    texts: list[str] = []
    try:
        with path.open("rb") as lines:
            filled = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
            for number, line in islice(filled, wanted.size):
                where = f"corpus file {path}, line {number}"
                name, text = _document(line, where, max_chars=wanted.max_chars)
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
    try:
        match json.loads(text.removeprefix("\ufeff")):
            case {"id": str() | int() as name, "text": str() as body}:
                _check(str(name), body, where, max_chars=max_chars)
                return str(name), body
    except (ValueError, RecursionError):
        pass  # said below
    raise ModelError(f'{where}: wanted {{"id", "text"}}, got {text.strip()[:80]!r}')


def _check(name: str, body: str, where: str, *, max_chars: int | None) -> None:
    if len(name) > _LONGEST_ID:
        raise ModelError(f"{where}: the id has {len(name)} characters, at most {_LONGEST_ID} are allowed")
    if fault := unwritable(name):
        raise ModelError(f"{where}: the id {fault}")
    if fault := too_long(body, max_chars) or unwritable(body):
        raise ModelError(f"{where}: the text {fault}")


def unwritable(text: str) -> str | None:
    """What is wrong with a text that no answer could hold: JSON's escapes can name half a letter (a surrogate)."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"holds {text[error.start]!r} at character {error.start}, which UTF-8 cannot write"
    return None


def too_long(text: str, max_chars: int | None) -> str | None:
    """What is wrong with a document's text of more than `max_chars` characters."""
    if max_chars is None or len(text) <= max_chars:
        return None
    return f"has {len(text)} characters, --max-document-chars allows {max_chars}"


def from_squad(wanted: _Wanted) -> Corpus:
    """The contexts of a SQuAD file, or of the hub data set where no file is given."""
    from servers.rag.corpus import squad  # noqa: PLC0415  a command too, which would be there twice

    read = squad.read(wanted.path, wanted.size, max_chars=wanted.max_chars)
    return Corpus("squad", tuple(passage.id for passage in read), tuple(passage.text for passage in read))


CORPORA: dict[str, Callable[[_Wanted], Corpus]] = {
    "facts": from_facts,
    "squad": from_squad,
    "jsonl": from_jsonl,
}


def load(
    name: str,
    *,
    path: Path | None = None,
    size: int | None = None,
    seed: int = facts.DEFAULT_SEED,
    max_chars: int | None = None,
) -> Corpus:
    """The corpus of that name; of a file the first `size` documents, or all. Raises ModelError with one clear line."""
    return CORPORA[name](_Wanted(path, size, seed, max_chars))
