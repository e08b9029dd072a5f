"""The `squad` corpus: the contexts of a SQuAD v1.1 file, and its questions.

A file is SQuAD's JSON, or the hub data set's Parquet. Each different context is a document, with ids from `c00000` in
the order of the file. Questions without an answer, which SQuAD v2 has, are left out.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from servers.rag.corpus import too_long
from servers.rag.corpus.facts import DEFAULT_SEED, Question, shuffle
from servers.rag.models import ModelError

Text = Annotated[str, Field(min_length=1)]
Part = TypeVar("Part", bound=BaseModel)
HUB = "rajpurkar/squad"
HUB_FILE = "plain_text/validation-00000-of-00001.parquet"


@dataclass(frozen=True, slots=True)
class Passage:
    """A context, and the questions that it answers."""

    id: str
    text: str
    questions: tuple[Question, ...]


class Answer(BaseModel):
    """A gold answer."""

    text: Text


class Asked(BaseModel):
    """A question with its answers."""

    id: Text
    question: Text
    answers: list[Answer]


class Paragraph(BaseModel):
    """A context with its questions."""

    context: Text
    qas: list[Asked]


class Article(BaseModel):
    """Paragraphs of one article."""

    paragraphs: list[Paragraph]


class Squad(BaseModel):
    """The file."""

    data: list[Article]


class WrongSchema(ValueError):
    """The file is not in SQuAD's format; the message names the place."""


def read(path: Path | None, size: int | None = None, *, max_chars: int | None = None) -> list[Passage]:
    """The contexts of a file, or of the hub data set; the first `size` of them, or all.

    Raises ModelError, also on a context of more than `max_chars` characters.
    """
    path = path or from_hub()
    try:
        return passages((_from_parquet if path.suffix == ".parquet" else _from_json)(path), size, max_chars)
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


def passages(paragraphs: Iterable[tuple[str, Paragraph]], size: int | None, max_chars: int | None) -> list[Passage]:
    """The first `size` different contexts, or all, with their questions. Raises WrongSchema.

    `paragraphs` are pairs of a place in the file and a paragraph.
    """
    questions: dict[str, list[Asked]] = {}
    seen: set[str] = set()
    for at, paragraph in paragraphs:
        if fault := too_long(paragraph.context, max_chars):
            raise WrongSchema(f"{at}: the context {fault}")
        is_wanted = paragraph.context in questions or size is None or len(questions) < size
        for asked in paragraph.qas:
            if asked.id in seen:
                raise WrongSchema(f"the question id {asked.id!r} is there twice")
            seen.add(asked.id)
        if is_wanted:
            questions.setdefault(paragraph.context, []).extend(asked for asked in paragraph.qas if asked.answers)
    return [_passage(f"c{number:05d}", text, asked) for number, (text, asked) in enumerate(questions.items())]


def _passage(document: str, text: str, asked: Iterable[Asked]) -> Passage:
    questions = (
        Question(question.id, question.question, tuple(dict.fromkeys(a.text for a in question.answers)), (document,))
        for question in asked
    )
    return Passage(document, text, tuple(questions))


def _from_json(path: Path) -> Iterator[tuple[str, Paragraph]]:
    """The paragraphs of SQuAD's JSON, with their places. Raises WrongSchema."""
    file = json.loads(path.read_bytes().decode("utf-8-sig"))
    for i, article in enumerate(_checked(Squad, file).data):
        for j, paragraph in enumerate(article.paragraphs):
            yield f"data[{i}].paragraphs[{j}]", paragraph


def _from_parquet(path: Path) -> Iterator[tuple[str, Paragraph]]:
    """The same of the hub's Parquet file, which has a row for each question."""
    import pandas as pd  # noqa: PLC0415  takes half a second

    with path.open("rb") as file:
        rows = pd.read_parquet(file).to_dict("records")
    for row in rows:
        at = f"row {row.get('id')}"
        answers = row.get("answers")
        if isinstance(answers, dict) and "text" in answers:
            answers = [{"text": text} for text in answers["text"]]
        yield at, _checked(Paragraph, row | {"qas": [row | {"answers": answers}]}, at=at)


def from_hub() -> Path:
    """The hub data set's validation file, from the local cache or downloaded. Raises ModelError."""
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


def _checked(schema: type[Part], value: Any, *, at: str = "") -> Part:
    """The validated value. Raises WrongSchema with the place of the first mistake, after `at`."""
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    got = json.dumps(first["input"], default=str)[:60]
    raise WrongSchema(": ".join(filter(None, (at, place, f"{first['msg']}, got {got}"))))


def sample(asked: Sequence[Question], count: int | None, seed: int) -> list[Question]:
    """`count` of the questions in random order, or all in their order. Raises ModelError if there are too few."""
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
