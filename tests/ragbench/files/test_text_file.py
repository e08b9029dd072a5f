import pytest

from ragbench.files.csv_table import RecordError
from ragbench.files.text_file import parse_reported, read_text
from ragbench.files.toml_tables import StudyError, read_toml
from ragbench.simulator.scenario import read_scenario
from ragbench.study.questions import read_questions
from ragbench.study.study_file import load_study
from ragbench.study.trace import ArrivalError, read_trace
from tests.ragbench.running import ragbench, write_study

BOM = b"\xef\xbb\xbf"
QUESTION = '{"id": "q", "query": "Wie heißt er?"}\n'
READERS = {
    "study.toml": (read_toml, '[study]\ntitle = "größer"\n', StudyError),
    "questions.jsonl": (read_questions, QUESTION, RecordError),
    "trace.csv": (lambda path: read_trace(str(path)), "offset_s\n0\n1\n", ArrivalError),
    "whatif.toml": (read_scenario, 'design = "scaled"\nphases = [{ duration_s = 2, rate = 50 }] # ä\n', StudyError),
}


@pytest.mark.parametrize("name", READERS)
def test_a_byte_order_mark_is_accepted_and_other_encodings_are_one_line(tmp_path, name):
    read, text, error = READERS[name]
    path = tmp_path / name
    path.write_bytes(BOM + text.encode())
    assert read(path)
    path.write_bytes(text.encode() + "ä".encode("latin-1"))
    with pytest.raises(error) as caught:
        read(path)
    assert f"{path} is not UTF-8: line " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_study_with_a_byte_order_mark_is_a_study(tmp_path):
    path = write_study(tmp_path, '[designs.a]\ncommand = "FAKE"\n')
    path.write_bytes(BOM + path.read_bytes())
    assert list(load_study(path).designs) == ["a"]


def test_line_ends_stay_as_they_are(tmp_path):
    (tmp_path / "x").write_bytes(b"a\r\nb\rc\n")
    assert read_text(tmp_path / "x") == "a\r\nb\rc\n"


def test_json_that_is_nested_too_deep_is_one_line(tmp_path):
    deep = "[" * 100_000
    with pytest.raises(ValueError, match="nested too deep"):
        parse_reported(deep)
    path = tmp_path / "questions.jsonl"
    path.write_text(deep, encoding="utf-8")
    with pytest.raises(RecordError, match=r"questions.jsonl:1: it is nested too deep; wanted"):
        read_questions(path)


def test_a_trace_with_a_long_cell_is_one_short_line(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("offset_s,note\n0,x\n1," + "y" * 200_000 + "\n", encoding="utf-8")
    assert len(read_trace(str(path)).offsets_s) == 2
    path.write_text("offset_s\n0\n" + "y" * 200_000 + "\n", encoding="utf-8")
    with pytest.raises(ArrivalError) as caught:
        read_trace(str(path))
    assert len(str(caught.value)) < 300


@pytest.mark.slow
def test_a_locale_of_plain_ascii_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("PYTHONCOERCECLOCALE", "0")
    monkeypatch.setenv("PYTHONUTF8", "0")
    study = write_study(tmp_path, '[designs.a]\ncommand = "FAKE"\n')
    text = study.read_text(encoding="utf-8").replace("[study]", '[study]\ntitle = "größer → schneller"')
    study.write_text(text, encoding="utf-8")
    done = ragbench("run", study, "--results", tmp_path / "r", "--no-report")
    assert done.returncode == 0, done.stderr
    assert "a-ideal-200rps-seed1" in done.stdout
    assert "Traceback" not in done.stderr
