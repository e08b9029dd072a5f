"""The documents that are searched: which there are, and their checksum. Embeds nothing."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from servers.rag import squad
from servers.rag.facts import facts
from servers.rag.models import ModelError

__all__ = ["CORPORA", "Corpus", "load"]


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


def from_facts(path: Path | None, size: int, seed: int) -> Corpus:
    """The generated facts."""
    try:
        made = facts(size, seed)
    except ValueError as error:
        raise ModelError(f"--corpus-size {size}: {error}") from error
    return Corpus("facts", tuple(fact.id for fact in made), tuple(fact.text for fact in made))


def from_jsonl(path: Path | None, size: int, seed: int) -> Corpus:
    """A user's own file of `{"id", "text"}` lines, at most `size` of them."""
    if path is None:
        raise ModelError('the jsonl corpus needs --corpus-path FILE with one {"id", "text"} object a line')
    try:
        with path.open("rb") as lines:
            filled = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
            documents = [_document(line, f"corpus file {path}, line {number}") for number, line in islice(filled, size)]
    except OSError as error:
        raise ModelError(f"corpus file {path}: {error.strerror}") from error
    return Corpus("jsonl", tuple(name for name, _ in documents), tuple(text for _, text in documents))


def _document(line: bytes, where: str) -> tuple[str, str]:
    """The id, which may be a number, and the text of one line."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise ModelError(f"{where}: not UTF-8 ({error.reason} at byte {error.start})") from error
    try:
        match json.loads(text.removeprefix("\ufeff")):
            case {"id": str() | int() as name, "text": str() as body}:
                return str(name), body
    except (ValueError, RecursionError):
        pass  # said below
    raise ModelError(f'{where}: wanted {{"id", "text"}}, got {text.strip()[:80]!r}')


def from_squad(path: Path | None, size: int, seed: int) -> Corpus:
    """The contexts of a SQuAD file, or of the hub data set where no file is given; at most `size` of them."""
    read = squad.read(path, size)
    return Corpus("squad", tuple(passage.id for passage in read), tuple(passage.text for passage in read))


CORPORA: dict[str, Callable[[Path | None, int, int], Corpus]] = {
    "facts": from_facts,
    "squad": from_squad,
    "jsonl": from_jsonl,
}


def load(name: str, *, path: Path | None, size: int, seed: int) -> Corpus:
    """The corpus of that name. Raises ModelError with one clear line."""
    return CORPORA[name](path, size, seed)
