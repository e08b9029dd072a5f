import re
import sys

from ragbench.chaos.experiment import Terms
from ragbench.chaos.outcome import Tally
from ragbench.chaos.report import COLUMNS, cells, write
from ragbench.cli.chaos import circumstances

TALLY = Tally("kill", 9, 8, 0, None, 1, 0, 2, 0, 1.25, 0, {"ready_at_end": 3}, ("1 lost: reset",))


def test_columns_are_the_fields_in_order():
    assert ",".join(COLUMNS) == (
        "scenario,sent,answered,rejected,retried,lost,duplicated,late,refused,recovery_s,orphans"
    )
    assert cells(TALLY) == ["kill", "9", "8", "0", "", "1", "0", "2", "0", "1.25", "0"]


def test_files_say_under_what_it_was_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/ragbench", "chaos", "kill"])
    terms = Terms([sys.executable, "-m", "servers"], [], (), duration_s=30.0)
    about = circumstances(terms, 99.6)
    write(tmp_path, "chaos", [TALLY], about)
    assert (tmp_path / "chaos.csv").read_text().splitlines() == [",".join(COLUMNS), "kill,9,8,0,,1,0,2,0,1.25,0"]
    text = (tmp_path / "chaos.md").read_text()
    assert "| kill | 9 | 8 | 0 |  | 1 | 0 | 2 | 0 | 1.25 | 0 |" in text
    assert "- kill: ready_at_end 3\n- kill: 1 lost: reset\n" in text
    assert re.search(r"; commit (unknown|[0-9a-f]{7}).*; capacity 100 requests/s; 30 s a scenario\.\n", text)
    assert "Fleet: `python -m servers`. By `ragbench chaos kill`." in text
