import json
import sys

import pandas as pd
import pytest

from ragbench.__main__ import main
from tests.ragbench.compare_fixture import write_runs


@pytest.fixture
def call(monkeypatch, capsys):
    """Run the command line in this process. -> (exit code, stdout, stderr)"""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["ragbench", "compare", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return end.value.code or 0, out, err

    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    services = {"one": lambda rate: 0.014, "two": lambda rate: 0.014 * 1.2, "three": lambda rate: 0.014}
    return write_runs(tmp_path_factory.mktemp("it") / "it", services, rates=(20, 40), seeds=(1, 2, 3, 4, 5))


def test_it_prints_a_table_and_says_it_in_words(call, folder):
    code, out, err = call(f"{folder}:one", f"{folder}:two")
    assert (code, err) == (0, "")
    assert "b against a, 8 of 10 cells compared" in out
    assert "two is slower than one at 20/s by " in out
    assert "All 8 intervals hold at once with 95% confidence" in out


def test_json_is_all_that_is_on_stdout(call, folder, tmp_path):
    code, out, _ = call(f"{folder}:one", f"{folder}:two", "--json", "--out", tmp_path / "table.csv")
    rows = json.loads(out)
    assert code == 0
    assert len(rows) == 10
    assert rows[0]["concurrency"] is None
    table = pd.read_csv(tmp_path / "table.csv")
    assert list(table.columns) == list(rows[0])
    assert table["difference_percent"].tolist() == pytest.approx([row["difference_percent"] for row in rows], abs=1e-8)


@pytest.mark.slow
def test_a_gate_fails_where_the_difference_is_shown_and_only_there(call, folder):
    code, _, err = call(f"{folder}:one", f"{folder}:two", "--fail-if", "latency_p95_s > +5%")
    assert code == 1
    assert "fails: latency_p95_s > +5% at 40/s, poisson (two against one): +" in err
    code, _, err = call(f"{folder}:one", f"{folder}:three", "--fail-if", "latency_p50_s > +1%")
    assert code == 0
    assert "not shown: latency_p50_s > +1% at 20/s" in err
    code, _, err = call(
        *(f"{folder}:one", f"{folder}:three", "--fail-if", "latency_p50_s > +100%"),
        *("--fail-if", "throughput_rps < -20%"),
    )
    assert (code, err.count("holds: ")) == (0, 4)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--fail-if", "latency_p95_s above 5%"), "--fail-if looks like"),
        (("--out", "table.xlsx"), "--out must end in .csv or .json, got table.xlsx"),
        (("--arrival", "gamma"), "no arrival 'gamma' in"),
    ],
)
def test_mistakes_are_one_line_and_code_2(call, folder, options, line):
    code, out, err = call(f"{folder}:one", f"{folder}:two", *options)
    assert (code, out) == (2, "")
    assert line in err
    assert len(err.splitlines()) == 1
