"""What-ifs as files: what they ask for, and what is wrong in them."""

from pathlib import Path

import numpy as np
import pytest

from ragbench.files.toml_tables import StudyError
from ragbench.results.records import Row
from ragbench.simulator.scenario import Kill, Phase, Scenario, Simulated, read_scenario, schedule, simulate, timeline
from tests.ragbench.simulator.known import FLEET, line

SHIPPED = sorted((Path(__file__).resolve().parents[3] / "studies" / "whatif").glob("*.toml"))
WHOLE = 'design = "scaled"\nphases = [{ duration_s = 2, rate = 50 }]\n'
PHASES = (Phase(2.0, 50.0),)


def written(tmp_path, text):
    path = tmp_path / "it.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_scenarios_are_read(path):
    scenario = read_scenario(path)
    assert scenario.title[0].isalnum()
    assert not set(scenario.settings) - {*FLEET, "own_machines", "cold_start_s"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("phases = [{ duration_s = 2, rate = 50 }]", "design is needed"),
        ('design = "scaled"', "phases is needed"),
        (WHOLE + "kill = 3", "the file has an unknown key 'kill'; did you mean kills? valid: title, design"),
        (WHOLE.replace("duration_s", "seconds"), "phases[0].duration_s is needed"),
        (WHOLE.replace("50", "0"), "phases[0].rate must be > 0, got 0"),
        (WHOLE.replace("50", "inf"), "phases[0].rate must be a number, got inf"),
        (WHOLE.replace("= 2", "= nan"), "phases[0].duration_s must be a number, got nan"),
        ('design = "scaled"\nphases = []', "phases must not be empty"),
        (WHOLE + 'arrival = "possion"', "possion"),
        (WHOLE + "kills = [3]", "kills: each must be a table, got 3"),
        ("design = ", "Invalid value"),
    ],
)
def test_mistakes_are_told_with_the_file(tmp_path, text, told):
    path = written(tmp_path, text)
    with pytest.raises(StudyError) as caught:
        read_scenario(path)
    assert told in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(StudyError, match="No such file"):
        read_scenario(tmp_path / "none.toml")


def test_phases_follow_one_another_and_the_seed_decides():
    scenario = Scenario(design="scaled", phases=(Phase(10.0, 100.0), Phase(5.0, 400.0)))
    due = np.array([request.due_s for request in schedule(scenario)])
    assert np.all(np.diff(due) >= 0)
    assert (due < 10).sum() == pytest.approx(1000, rel=0.15)
    assert ((due >= 10) & (due < 15)).sum() == pytest.approx(2000, rel=0.15)
    assert scenario.offered_rps == pytest.approx(200)
    assert [request.due_s for request in schedule(scenario)] == due.tolist()


def test_a_setting_that_is_none_or_wrong_is_told():
    times = line(0.005, 0.002)
    killing = Scenario(design="a", phases=PHASES, kills=(Kill(1.0, 1),))
    fine = Scenario(design="scaled", phases=PHASES)
    wrong = ({"replicas": 3}, "'replicas' is no setting"), ({"routing": "best"}, "best"), ({"max_wait_s": "x"}, "str")
    for settings, told in wrong:
        with pytest.raises(StudyError, match=told):
            simulate(
                Scenario(design="scaled", phases=PHASES, settings=settings),
                design="scaled",
                settings=FLEET,
                times=times,
            )
    with pytest.raises(StudyError, match="kills need replicas"):
        simulate(killing, design="batched", settings={}, times=times)
    with pytest.raises(StudyError, match="no model of 'mine'"):
        simulate(fine, design="mine", settings=FLEET, times=times)


def test_a_timeline_has_every_request_also_the_last():
    rows = [Row(n, "q", float(n), float(n), n + 0.1, 0.1, 0.0, "ok", 200) for n in range(4)]
    assert timeline(Simulated(rows, [], 0.0))["offered_rps"].tolist() == [1.0] * 4
    assert timeline(Simulated([rows[0], rows[3]], [], 0.0))["offered_rps"].tolist() == [1.0, 0.0, 0.0, 1.0]
    assert timeline(Simulated([], [], 0.0)).empty


def test_a_timeline_counts_load_answers_and_replicas_by_second():
    scenario = Scenario(design="scaled", phases=(Phase(4.0, 50.0),), kills=(Kill(1.5, 2),))
    told = simulate(scenario, design="scaled", settings=FLEET, times=line(0.005, 0.002, cold_start_s=1.0))
    moments = timeline(told)
    assert moments["offered_rps"].sum() == pytest.approx(len(told.rows), abs=2)
    assert moments["ready"].tolist() == [2, 0, 2, 2]
    shares = moments["answered_share"]
    assert (shares[0], shares[3]) == (1.0, 1.0)
    assert 0.3 < shares[1] < 0.7
    assert moments["latency_p95_s"][0] >= moments["latency_p50_s"][0] > 0.005
