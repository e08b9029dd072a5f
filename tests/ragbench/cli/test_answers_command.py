"""`ragbench report --answers` on folders as studies leave them."""

import csv
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ragbench.__main__ import main
from ragbench.results.records import read_manifests
from tests.ragbench.results_fixture import write_study

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the command line in this process. -> (exit code, stdout, stderr)"""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ragbench", "report", "--answers", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two designs; every question was answered "x" by both."""
    made = write_study(tmp_path / "it", designs={"one": [{}], "one-more": [{"max_batch_size": 8}]}, rates=(10,))
    for manifest in read_manifests(made):
        say(made / manifest["point"]["name"] / "requests.csv", "x")
    return made


def say(file: Path, result: str, *, first: int = 10_000) -> None:
    """Put `result` into the first answered rows."""
    rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
    for row in [row for row in rows if row["status"] == "ok"][:first]:
        row["result"] = result
    with file.open("w", encoding="utf-8", newline="") as out:
        table = csv.DictWriter(out, rows[0])
        table.writeheader()
        table.writerows(rows)


def test_equal_answers_have_one_checksum(call: Call, folder: Path) -> None:
    code, out, err = call(folder)
    assert code == 0, err
    rows = list(csv.DictReader((folder / "answers.csv").read_text().splitlines()))
    assert [row["configuration"] for row in rows] == ["one", "one-more max_batch_size=8"]
    assert len({row["sha256"] for row in rows}) == 1
    assert rows[0]["sha256"][:16] in out


def test_one_other_answer_is_told_and_fails(call: Call, folder: Path) -> None:
    say(next(folder.glob("one-more-*poisson*")) / "requests.csv", "y", first=1)
    code, _, _ = call(folder, "--reference", "one-more")
    assert code == 1
    first, second = csv.DictReader((folder / "answers.csv").read_text().splitlines())
    assert first["configuration"] == "one-more max_batch_size=8", "the reference comes first"
    assert (first["different"], second["different"]) == ("0", "1")


@pytest.mark.parametrize("name", ["on", "two"])
def test_an_unknown_reference_is_one_line(call: Call, folder: Path, name: str) -> None:
    code, _, err = call(folder, "--reference", name)
    assert code == 2
    assert err.strip().endswith("there: one, one-more")
    assert err.startswith(f"--reference: no design '{name}'")
