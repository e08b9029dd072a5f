"""The `squad` corpus: what is read, what a wrong file says, and the command that prints the questions."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from servers.rag import squad as command
from servers.rag.corpus import load, squad
from servers.rag.corpus.facts import Question
from servers.rag.models import ModelError
from tests.servers.rag.corpus.squad_fixture import write_squad

RIVER = "Kalvo lies on the river Sorn."
TOWN = "Mira Toven comes from Kalvo."


def qa(name: str, question: str, *answers: str) -> dict[str, Any]:
    return {"id": name, "question": question, "answers": [{"text": text, "answer_start": 0} for text in answers]}


def write(path: Path, *paragraphs: dict[str, Any]) -> Path:
    articles = [{"title": "one", "paragraphs": paragraphs[:1]}, {"title": "other", "paragraphs": paragraphs[1:]}]
    path.write_text(json.dumps({"version": "1.1", "data": articles}), encoding="utf-8")
    return path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Two contexts, of which one stands in both articles; an answer given twice, and a question without one."""
    return write(
        tmp_path / "small.json",
        {"context": RIVER, "qas": [qa("a", "Which river does Kalvo lie on?", "Sorn", "the river Sorn", "Sorn")]},
        {"context": TOWN, "qas": [qa("b", "Where is Mira from?", "Kalvo"), qa("c", "Who is Mira?")]},
        {"context": RIVER, "qas": [qa("d", "What lies on the Sorn?", "Kalvo")]},
    )


def test_a_document_is_a_context_and_one_that_comes_again_is_the_same(small: Path) -> None:
    corpus = load("squad", path=small, size=10, seed=0)
    assert (corpus.name, corpus.ids, corpus.texts) == ("squad", ("c00000", "c00001"), (RIVER, TOWN))


def test_size_limits_the_contexts_and_keeps_all_that_is_asked_on_them(small: Path) -> None:
    (one,) = squad.read(small, 1)
    assert (one.id, one.text) == ("c00000", RIVER)
    assert [question.id for question in one.questions] == ["a", "d"]


def test_a_file_is_read_whole_unless_a_size_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entries = [{"context": f"c{n}", "qas": [qa(str(n), "Where?", "there")]} for n in range(10_001)]
    path = write(tmp_path / "many.json", *entries)
    assert len(load("squad", path=path)) == 10_001
    assert command.main([str(path)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 10_001


@pytest.mark.parametrize("field", ["context", "question", "text", "id"])
def test_text_that_utf_8_cannot_write_names_its_place(tmp_path: Path, field: str) -> None:
    path = write(tmp_path / "odd.json", {"context": "C", "qas": [qa("I", "Q", "T")]})
    letter = {"context": "C", "question": "Q", "text": "T", "id": "I"}[field]
    content = path.read_text().replace(f'"{letter}"', f'"{letter}\\ud800"')
    path.write_text(content)
    with pytest.raises(
        ModelError, match=r"odd.json: Invalid JSON: unexpected end of hex escape at column (\d+)"
    ) as error:
        squad.read(path)
    column = int(re.findall(r"column (\d+)", str(error.value))[0])
    assert 0 <= column - content.index("ud800") <= 8


def test_a_context_that_is_too_long_names_its_place(small: Path) -> None:
    with pytest.raises(ModelError, match=r"paragraphs\[0\].context: has 29 characters, --max-document-chars allows 28"):
        load("squad", path=small, max_chars=28)


def test_questions_have_their_answers_once_and_their_context_and_those_without_an_answer_are_left_out(
    small: Path,
) -> None:
    assert [question for passage in squad.read(small, 10) for question in passage.questions] == [
        Question("a", "Which river does Kalvo lie on?", ("Sorn", "the river Sorn"), ("c00000",)),
        Question("d", "What lies on the Sorn?", ("Kalvo",), ("c00000",)),
        Question("b", "Where is Mira from?", ("Kalvo",), ("c00001",)),
    ]


def test_the_command_prints_lines_that_the_harness_reads(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([str(small)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert json.loads(lines[0]) == {
        "id": "a",
        "query": "Which river does Kalvo lie on?",
        "answers": ["Sorn", "the river Sorn"],
        "documents": ["c00000"],
    }


def test_count_and_seed_choose_among_the_questions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(write_squad(tmp_path / "facts.json", contexts=20, facts_each=3))

    def chosen(*flags: str) -> list[str]:
        assert command.main([path, *flags]) == 0
        return [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()]

    everything = chosen()
    assert len(everything) == 60
    first, again, other = chosen("--count", "20"), chosen("--count", "20"), chosen("--count", "20", "--seed", "1")
    assert first == again != other
    assert len(set(first)) == 20
    assert first != everything[:20]
    assert set(chosen("--count", "60")) == set(everything)
    assert chosen("--size", "2") == everything[:6]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "wrong.json: Invalid JSON: EOF while parsing an object at column 1"),
        ("", "wrong.json: Invalid JSON: EOF while parsing a value at column 0"),
        ("[" * 100_000, "wrong.json: Invalid JSON: recursion limit exceeded"),
        ("[]", "wrong.json: Input should be an object, got []"),
        ("{}", "wrong.json: data: Field required, got {}"),
        ('{"data": {}}', "data: Input should be a valid array, got {}"),
        ('{"data": [5]}', "data[0]: Input should be an object, got 5"),
        ('{"data": [{"paragraphs": [{"context": "x"}]}]}', "data[0].paragraphs[0].qas: Field required"),
        ('{"data": [{"paragraphs": [{"qas": []}]}]}', "data[0].paragraphs[0].context: Field required"),
        (
            '{"data": [{"paragraphs": [{"qas": [], "context": ""}]}]}',
            "data[0].paragraphs[0].context: String should have at least 1 character, got ''",
        ),
        (
            '{"data": [{"paragraphs": []}, {"paragraphs": [{"context": "x", "qas": [{"id": "1", "answers": []}]}]}]}',
            "data[1].paragraphs[0].qas[0].question: Field required",
        ),
        (
            '{"data": [{"paragraphs": [{"context": "x", "qas": [{"id": 1, "question": "?", "answers": []}]}]}]}',
            "data[0].paragraphs[0].qas[0].id: Input should be a valid string, got 1",
        ),
        (
            '{"data": [{"paragraphs": [{"context": "x", "qas": [{"id": "1", "question": "?", "answers": [{}]}]}]}]}',
            "data[0].paragraphs[0].qas[0].answers[0].text: Field required",
        ),
        ('{"data": []}', "has no documents"),
    ],
)
def test_a_wrong_file_is_one_line_that_names_the_place(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "wrong.json"
    path.write_text(content)
    with pytest.raises(ModelError) as error:
        load("squad", path=path, size=10, seed=0)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_two_questions_of_one_id_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "twice.json", {"context": "x", "qas": [qa("a", "?", "x"), qa("a", "??", "x")]})
    with pytest.raises(ModelError, match=r"twice.json: the question id 'a' is there twice"):
        squad.read(path, 10)


@pytest.mark.parametrize("name", ["nowhere.json", "nowhere.parquet"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match=f"{name}: No such file"):
        load("squad", path=tmp_path / name, size=10, seed=0)


def test_a_folder_and_what_is_not_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="Is a directory"):
        squad.read(tmp_path, 10)
    (tmp_path / "latin.json").write_bytes(b'{"data": "\xe9"}')
    with pytest.raises(ModelError, match=r"latin.json: not UTF-8 \(.* at byte 10\)"):
        squad.read(tmp_path / "latin.json", 10)


def test_the_hubs_rows_give_the_same_as_the_json(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"id": entry["id"], "context": paragraph["context"], "question": entry["question"]}
        | {"answers": {key: [answer[key] for answer in entry["answers"]] for key in ("text", "answer_start")}}
        for article in json.loads(small.read_text(encoding="utf-8"))["data"]
        for paragraph in article["paragraphs"]
        for entry in paragraph["qas"]
    ]
    (tmp_path / "validation.parquet").touch()
    monkeypatch.setattr(pd, "read_parquet", lambda file: pd.DataFrame(rows))  # pyarrow is not among our packages
    assert squad.read(tmp_path / "validation.parquet", 10) == squad.read(small, 10)
    monkeypatch.setattr(pd, "read_parquet", lambda file: pd.DataFrame([{"id": "a", "answers": {"text": []}}]))
    with pytest.raises(ModelError, match=r"validation.parquet: row a: context: Field required"):
        squad.read(tmp_path / "validation.parquet", 10)


def test_without_a_file_and_without_the_hub_one_line_says_what_to_do(tmp_path: Path) -> None:
    done = run(
        "-c", "from servers.rag.corpus import squad; squad.read(None, 10)", HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path)
    )
    line = done.stderr.splitlines()[-1]
    assert "plain_text/validation-00000-of-00001.parquet of the data set rajpurkar/squad" in line
    assert f"cache {tmp_path}/hub" in line
    assert "`hf download --repo-type dataset rajpurkar/squad plain_text/" in line
    assert "--corpus-path FILE" in line


def test_the_command_ends_with_one_line_and_a_status(tmp_path: Path, small: Path) -> None:
    nowhere = run("-m", "servers.rag.squad", str(tmp_path / "nowhere.json"))
    assert (nowhere.returncode, nowhere.stdout) == (1, "")
    assert nowhere.stderr == f"squad: corpus file {tmp_path}/nowhere.json: No such file or directory\n"


@pytest.mark.parametrize(
    ("flags", "status", "message"),
    [
        ([], 2, "the following arguments are required: file"),
        (["FILE", "--count", "0"], 2, "--count must be >= 1, got 0"),
        (["FILE", "--size", "-1"], 2, "--size must be >= 1, got -1"),
        (["FILE", "--count", "4"], 1, "squad: wanted 4 questions, but these contexts have 3"),
    ],
)
def test_wrong_arguments_are_told(
    small: Path, capsys: pytest.CaptureFixture[str], flags: list[str], status: int, message: str
) -> None:
    try:
        code: object = command.main([flag.replace("FILE", str(small)) for flag in flags])
    except SystemExit as end:
        code = end.code
    assert code == status
    assert message in capsys.readouterr().err


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Python, from the repository."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=Path(__file__).parents[4],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
