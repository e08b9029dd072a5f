from dataclasses import fields

from ragbench.chaos.report import COLUMNS, Circumstances, cells, chaos_csv, chaos_md
from ragbench.chaos.tally import Tally, fates, told
from tests.ragbench.chaos.exchanges import exchange

TALLY = Tally("kill", 9, 8, 0, None, 1, 0, 2, 0, 1.25, 0, {"ready_at_end": 3}, ("1 lost: reset",))


def test_every_request_that_was_sent_is_counted_once():
    exchanges = [
        exchange(),
        exchange(took_s=1.5),
        exchange(status="rejected", http_status=429, retry_after_s=2.0),
        exchange(status="reset", http_status=None),
        exchange(status="unsent", sent_s=None),
    ]
    assert fates(exchanges, late_s=1.0) == {"sent": 4, "answered": 2, "rejected": 1, "lost": 1, "late": 1}


def test_told_counts_equal_reasons():
    lost = [exchange(status="reset"), exchange(status="http_error", http_status=500), exchange(status="reset")]
    notes = told([*lost, exchange(), exchange(status="unsent", sent_s=None)])
    assert notes == ("2 lost: reset", "1 lost: status 500", "1 not sent: this client could not")


def test_what_is_not_whole():
    assert not TALLY.is_whole
    clean = Tally("kill", 9, 9, 0, 3, 0, None, 0, 0, 0.0, 0)
    assert clean.is_whole
    assert not Tally("kill", 9, 9, 0, 3, 0, None, 0, 0, None, 0, failures=("it did not recover",)).is_whole


def test_columns_are_the_fields_in_order():
    assert tuple(item.name for item in fields(Tally))[: len(COLUMNS)] == COLUMNS
    assert cells(TALLY) == ["kill", "9", "8", "0", "", "1", "0", "2", "0", "1.25", "0"]


def test_files_say_under_what_it_was_counted():
    about = Circumstances("a CPU", "abc1234", "ragbench chaos kill", ["python", "-m", "servers"], 99.6, 30.0)
    assert chaos_csv([TALLY]).splitlines() == [",".join(COLUMNS), "kill,9,8,0,,1,0,2,0,1.25,0"]
    text = chaos_md([TALLY], about)
    assert "| kill | 9 | 8 | 0 |  | 1 | 0 | 2 | 0 | 1.25 | 0 |" in text
    assert "- kill: ready_at_end 3\n- kill: 1 lost: reset\n" in text
    assert "a CPU; commit abc1234; capacity 100 requests/s; 30 s a scenario." in text
    assert "`python -m servers`" in text
