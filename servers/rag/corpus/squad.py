"""The `squad` corpus: the contexts of a SQuAD v1.1 file, and its questions.

A file is SQuAD's JSON, or the hub data set's Parquet. Each different context is a document, with ids from `c00000` in
the order of the file. Questions without an answer, which SQuAD v2 has, are left out.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field

from servers.rag.corpus import LIMITED, validated
from servers.rag.corpus.facts import Question
from servers.rag.models import ModelError

Filled = Annotated[str, Field(min_length=1)]
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

    text: Filled


class Asked(BaseModel):
    """A question with its answers."""

    id: Filled
    question: Filled
    answers: list[Answer]


class Paragraph(BaseModel):
    """A context with its questions."""

    context: Annotated[Filled, LIMITED]
    qas: list[Asked]


class Article(BaseModel):
    """Paragraphs of one article."""

    paragraphs: list[Paragraph]


class Squad(BaseModel):
    """The file."""

    data: list[Article]


def read(path: Path | None, size: int | None = None, *, max_chars: int | None = None) -> list[Passage]:
    """The contexts of a file, or of the hub data set; the first `size` of them, or all.

    Raises ModelError, also on a context of more than `max_chars` characters.
    """
    path = path or from_hub()
    try:
        paragraphs = (_from_parquet if path.suffix == ".parquet" else _from_json)(path, max_chars)
    except OSError as error:
        raise ModelError(f"corpus file {path}: {error.strerror or error}") from error
    except ImportError as error:
        raise ModelError(f"corpus file {path}: Parquet needs pyarrow (`pip install pyarrow`), or give JSON") from error
    except ValueError as error:
        raise ModelError(f"corpus file {path}: not Parquet ({str(error).splitlines()[0]})") from error
    counts = Counter(asked.id for paragraph in paragraphs for asked in paragraph.qas)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise ModelError(f"corpus file {path}: the question id {twice[0]!r} is there twice")
    contexts: dict[str, list[Asked]] = {}
    for paragraph in paragraphs:
        if paragraph.context in contexts or size is None or len(contexts) < size:
            contexts.setdefault(paragraph.context, []).extend(paragraph.qas)
    return [_passage(f"c{number:05d}", *context) for number, context in enumerate(contexts.items())]


def _passage(document: str, text: str, qas: list[Asked]) -> Passage:
    golds = [tuple(dict.fromkeys(answer.text for answer in asked.answers)) for asked in qas]
    questions = [Question(asked.id, asked.question, gold, (document,)) for asked, gold in zip(qas, golds, strict=True)]
    return Passage(document, text, tuple(question for question in questions if question.answers))


def _from_json(path: Path, max_chars: int | None) -> list[Paragraph]:
    squad = validated(Squad.model_validate_json, path.read_bytes(), f"corpus file {path}", max_chars)
    return [paragraph for article in squad.data for paragraph in article.paragraphs]


def _from_parquet(path: Path, max_chars: int | None) -> list[Paragraph]:
    """The hub's file has a row for each question."""
    import pandas as pd  # noqa: PLC0415  takes half a second

    with path.open("rb") as file:
        rows = pd.read_parquet(file).to_dict("records")
    for row in rows:
        if isinstance(row.get("answers"), dict):
            row["answers"] = [{"text": text} for text in row["answers"].get("text", ())]
    return [
        validated(
            Paragraph.model_validate, {**row, "qas": [row]}, f"corpus file {path}: row {row.get('id')}", max_chars
        )
        for row in rows
    ]


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
