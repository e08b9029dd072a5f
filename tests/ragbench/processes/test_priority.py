import os
import subprocess
import sys

import pytest

from ragbench.processes import priority


def test_it_lasts_as_long_as_the_block_and_children_do_not_have_it():
    before = os.sched_getscheduler(0)
    with priority.served_first() as allowed:
        if not allowed:
            pytest.skip("real-time scheduling is not allowed here")
        assert os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK == os.SCHED_RR
        child = subprocess.run(
            [sys.executable, "-c", "import os; print(os.sched_getscheduler(0))"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert int(child.stdout) == os.SCHED_OTHER
    assert os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK == before & ~os.SCHED_RESET_ON_FORK


def test_where_it_is_refused_nothing_happens(monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    with priority.served_first() as allowed:
        assert not allowed
    assert not priority.may_be_served_first()
    monkeypatch.delattr(os, "sched_setscheduler")
    assert not priority.may_be_served_first()
