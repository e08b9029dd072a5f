"""The `squad` corpus: the contexts of a SQuAD v1.1 file, and its questions. Embeds nothing and asks nobody.

A file is SQuAD's JSON, or the hub data set's Parquet. A document is a context, ids `c00000` upwards in the order of the
file; one that comes again is the same document. Questions without an answer, which SQuAD v2 has, are left out: no
document holds what would be right.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from servers.rag.corpus.facts import DEFAULT_SEED, Question, shuffle
from servers.rag.corpus.text_checks import too_long, unwritable
from servers.rag.models import ModelError

HUB = "rajpurkar/squad"
HUB_FILE = "plain_text/validation-00000-of-00001.parquet"


@dataclass(frozen=True, slots=True)
class Passage:
    """One context, and the questions that it answers."""

    id: str
    text: str
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as a file has it, and the texts that answer it."""

    id: str
    query: str
    answers: tuple[str, ...]


class WrongSchema(ValueError):
    """A place in the file is not as SQuAD's files are; the message names it."""


def read(path: Path | None, size: int | None = None, *, max_chars: int | None = None) -> list[Passage]:
    """The contexts of a file, of the hub data set where there is none; the first `size` of them, or all.

    Raises ModelError with one line, also where a context has more than `max_chars` characters.
    """
    path = path or from_hub()
    try:
        paragraphs = (
            from_parquet(path, max_chars=max_chars)
            if path.suffix == ".parquet"
            else from_json(json.loads(path.read_bytes().decode("utf-8-sig")), max_chars=max_chars)
        )
        return passages(paragraphs, size)
    except OSError as error:
        raise ModelError(f"corpus file {path}: {error.strerror or error}") from error
    except ImportError as error:
        raise ModelError(f"corpus file {path}: Parquet needs pyarrow (`pip install pyarrow`), or give JSON") from error
    except WrongSchema as error:
        raise ModelError(f"corpus file {path}: {error}") from error
    except UnicodeDecodeError as error:
        raise ModelError(f"corpus file {path}: wanted UTF-8: {error}") from error
    except (ValueError, RecursionError) as error:
        kind = "Parquet" if path.suffix == ".parquet" else "JSON"
        raise ModelError(f"corpus file {path}: not {kind} ({str(error).splitlines()[0]})") from error


def passages(paragraphs: Iterable[tuple[str, Sequence[Asked]]], size: int | None) -> list[Passage]:
    """Each of the first `size` contexts, or of all, once, with all that is asked on it. Raises WrongSchema."""
    asked: dict[str, dict[str, Asked]] = {}
    seen: set[str] = set()
    for context, questions in paragraphs:
        for question in questions:
            if question.id in seen:
                raise WrongSchema(f"the question id {question.id!r} is there twice")
            seen.add(question.id)
        if context in asked or size is None or len(asked) < size:
            asked.setdefault(context, {}).update((question.id, question) for question in questions if question.answers)
    return [
        _passage(f"c{number:05d}", text, questions.values()) for number, (text, questions) in enumerate(asked.items())
    ]


def _passage(document: str, text: str, asked: Iterable[Asked]) -> Passage:
    return Passage(document, text, tuple(Question(one.id, one.query, one.answers, (document,)) for one in asked))


def from_json(file: Any, *, max_chars: int | None = None) -> Iterator[tuple[str, list[Asked]]]:
    """The contexts of SQuAD's JSON, as it was parsed, and what is asked on each. Raises WrongSchema."""
    for article_at, article in _each(file, "data", at=""):
        for paragraph_at, paragraph in _each(article, "paragraphs", at=article_at):
            asked = [_asked(entry, at) for at, entry in _each(paragraph, "qas", at=paragraph_at)]
            yield _context(paragraph, at=paragraph_at, max_chars=max_chars), asked


def from_parquet(path: Path, *, max_chars: int | None = None) -> Iterator[tuple[str, list[Asked]]]:
    """The same of the hub's Parquet file, which has a row for each question."""
    import pandas as pd  # noqa: PLC0415  half a second, which no other corpus needs

    with path.open("rb") as file:
        rows = pd.read_parquet(file).to_dict("records")
    for row in rows:
        at = f"row {row.get('id')}"
        entry = row | {"answers": [{"text": text} for text in _value(_value(row, "answers", at), "text", at)]}
        yield _context(entry, at=at, max_chars=max_chars), [_asked(entry, at)]


def from_hub() -> Path:
    """The hub data set's validation file: from the local cache, otherwise downloaded. Raises ModelError."""
    from huggingface_hub import hf_hub_download  # noqa: PLC0415
    from huggingface_hub.constants import HF_HUB_CACHE  # noqa: PLC0415
    from huggingface_hub.errors import LocalEntryNotFoundError  # noqa: PLC0415

    try:
        try:
            return Path(hf_hub_download(HUB, HUB_FILE, repo_type="dataset", local_files_only=True))
        except LocalEntryNotFoundError:
            return Path(hf_hub_download(HUB, HUB_FILE, repo_type="dataset"))
    except (OSError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"the squad corpus has no --corpus-path, and {HUB_FILE} of the data set {HUB} is neither in the hub's "
            f"cache {HF_HUB_CACHE} nor to be had from the hub ({reason}). Fetch it with "
            f"`hf download --repo-type dataset {HUB} {HUB_FILE}`, or give SQuAD's JSON file by --corpus-path FILE"
        ) from error


def _asked(entry: Any, at: str) -> Asked:
    answers = (_text(answer, "text", at=place) for place, answer in _each(entry, "answers", at=at))
    return Asked(_text(entry, "id", at=at), _text(entry, "question", at=at), tuple(dict.fromkeys(answers)))


def _each(parent: Any, key: str, *, at: str) -> Iterator[tuple[str, Any]]:
    """The entries of the list under `key`, each with its place: data[3].paragraphs[0]."""
    entries = _value(parent, key, at)
    if not isinstance(entries, list):
        raise WrongSchema(f'{_place(at)}"{key}" must be a list, got {_short(entries)}')
    for number, entry in enumerate(entries):
        yield f"{at}.{key}[{number}]".lstrip("."), entry


def _context(parent: Any, *, at: str, max_chars: int | None) -> str:
    context = _text(parent, "context", at=at)
    if fault := too_long(context, max_chars):
        raise WrongSchema(f"{_place(at)}the context {fault}")
    return context


def _text(parent: Any, key: str, *, at: str) -> str:
    text = _value(parent, key, at)
    if not isinstance(text, str) or not text:
        raise WrongSchema(f'{_place(at)}"{key}" must be a text, got {_short(text)}')
    if fault := unwritable(text):
        raise WrongSchema(f'{_place(at)}"{key}" {fault}')
    return text


def _value(parent: Any, key: str, at: str) -> Any:
    if not isinstance(parent, dict):
        raise WrongSchema(f'{_place(at)}wanted an object with "{key}", got {_short(parent)}')
    if key not in parent:
        raise WrongSchema(f'{_place(at)}no "{key}"')
    return parent[key]


def _place(at: str) -> str:
    return f"{at}: " if at else ""


def _short(value: Any) -> str:
    return json.dumps(value, default=str)[:60]


def sample(asked: Sequence[Question], count: int | None, seed: int) -> list[Question]:
    """So many of the questions in random order, or all in theirs. Raises ModelError where there are too few."""
    if count is None:
        return list(asked)
    if count > len(asked):
        raise ModelError(f"wanted {count} questions, but these contexts have {len(asked)}")
    shuffled = list(asked)
    shuffle(Random(seed), shuffled)
    return shuffled[:count]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the questions of a SQuAD file as JSON lines, for `questions` under [workload] of a study."""
    parser = argparse.ArgumentParser(prog="python -m servers.rag.squad", description=main.__doc__)
    parser.add_argument("file", type=Path, help="SQuAD v1.1 JSON, or the hub data set's Parquet file")
    parser.add_argument("--size", type=int, help="the first so many contexts, as --corpus-size (all)")
    parser.add_argument("--count", type=int, help="questions, in random order (all, in the file's order)")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="of that order (%(default)s)")
    options = parser.parse_args(arguments)
    for name in ("size", "count"):
        if (number := getattr(options, name)) is not None and number < 1:
            parser.error(f"--{name} must be >= 1, got {number}")
    try:
        asked = [question for passage in read(options.file, options.size) for question in passage.questions]
        chosen = sample(asked, options.count, options.seed)
    except ModelError as error:
        print(f"squad: {error}", file=sys.stderr)
        return 1
    for question in chosen:
        print(json.dumps(asdict(question)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
