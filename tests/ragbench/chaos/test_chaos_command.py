"""`ragbench chaos` as a user calls it, on the real fleet."""

import csv
import sys

import psutil
import pytest

from ragbench.chaos.experiment import Terms
from ragbench.chaos.scenarios import SCENARIOS
from ragbench.cli.chaos import _possible
from tests.ragbench.running import ragbench

SMALL = "python -m servers scaled --min-replicas 2 --max-replicas 2 --base-port 18700 --profile stub"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the harness's tether to its servers is Linux only")
def test_a_killed_replica_costs_no_request_and_leaves_nothing(tmp_path):
    (tmp_path / "kill").mkdir()
    answer = '{"event": "answered", "status": 200, "server": "batched[1]", "request_id": "of another run"}\n'
    (tmp_path / "kill" / "replica-1.log").write_text(2 * answer)
    done = ragbench(
        *("chaos", "kill", "--duration-s", 12, "--capacity-rps", 50, "--command", SMALL, "--out", tmp_path),
        deadline_s=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = csv.DictReader((tmp_path / "chaos.csv").read_text().splitlines())
    assert row["scenario"] == "kill"
    assert 260 < int(row["sent"]) < 460, "30/s for 12 s"
    assert (row["answered"], row["lost"], row["orphans"]) == (row["sent"], "0", "0")
    assert row["duplicated"] == "", "this fleet logs no answer, and what another run logged counts for nothing"
    assert "ready_at_end" in (tmp_path / "chaos.md").read_text()
    log = (tmp_path / "kill" / "server.log").read_text()
    assert log.count("died with status -9") == 2
    alive = [process for process in psutil.process_iter(["cmdline"]) if "18700" in (process.info["cmdline"] or [])]
    assert not alive


def test_an_unknown_scenario_is_one_line_with_those_there_are(call):
    code, _, err = call("chaos", "kil")
    assert code == 2
    assert err.strip().startswith("unknown scenario kil; there are kill, stop, engine_stopped")
    assert len(err.strip().splitlines()) == 1


def test_a_fault_to_order_is_refused_for_a_fleet_that_cannot_have_it(call):
    code, _, err = call("chaos", "engine_fails", "--command", "python -m servers scaled --profile tiny")
    assert code == 2
    assert "engine_fails: the fault is one to order, from a fleet with --profile stub alone" in err


def test_a_front_is_reloaded_only_where_there_is_one(call):
    code, _, err = call("chaos", "front", "--front", "http://127.0.0.1:8080")
    assert code == 2
    assert "front: needs a proxy in front, by --front and --front-reload" in err


def test_all_scenarios_are_those_that_the_fleet_can_have():
    without = _possible(list(SCENARIOS), Terms(("stub",), (), ()), is_default=True)
    assert set(SCENARIOS) - set(without) == {"front"}
    behind = Terms(("stub",), (), (), front="http://127.0.0.1:8080", reload=("true",))
    assert _possible(list(SCENARIOS), behind, is_default=True) == list(SCENARIOS)
