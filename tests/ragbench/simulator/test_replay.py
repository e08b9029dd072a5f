"""The points of a load, pooled: what agreement.csv says of them, against their rows."""

import json

import numpy as np
import pytest

from ragbench.results.paths import StudyPaths
from ragbench.results.records import REQUESTS
from ragbench.simulator.replay import replay
from tests.ragbench.simulator.known import Noisy
from tests.ragbench.simulator.measured import DURATION_S, write_measured

INF = float("inf")


@pytest.fixture
def folder(tmp_path):
    return write_measured(tmp_path / "known", Noisy(0.006, 0.002), rates=(20, 60), designs=("baseline",))


def replayed(folder):
    return replay(StudyPaths(folder), StudyPaths(folder.with_name("twin")))


def latencies_s(folder, rate, seed):
    """Of what was due in the steady window: after a tenth of the schedule, until the last; infinite if unanswered."""
    rows = REQUESTS.read(folder / f"baseline-poisson-{rate}rps-seed{seed}" / "requests.csv")
    rows.sort(key=lambda row: row.due_s)
    return [
        row.latency_s if row.status == "ok" else INF for row in rows if row.due_s >= rows[0].due_s + 0.1 * DURATION_S
    ]


def test_seeds_are_pooled_and_percentiles_never_averaged(folder):
    load = replayed(folder).agreements[1]
    of_each = [latencies_s(folder, 60, seed) for seed in (1, 2)]
    assert (load.offered_rps, load.seeds) == (60.0, 2)
    assert load.latency_p95_s == pytest.approx(np.percentile(np.concatenate(of_each), 95), abs=1e-9)
    assert load.latency_p95_s != pytest.approx(np.mean([np.percentile(each, 95) for each in of_each]), abs=1e-9)


def test_a_load_is_as_valid_as_the_worst_of_its_points(folder):
    path = folder / "baseline-poisson-60rps-seed2" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["summary"]["verdict"] = "contaminated"
    path.write_text(json.dumps(manifest))
    assert [load.verdict for load in replayed(folder).agreements] == ["valid", "contaminated"]


def test_a_load_without_an_answer_is_named_and_not_compared(folder):
    for seed in (1, 2):
        path = folder / f"baseline-poisson-20rps-seed{seed}" / "requests.csv"
        header, *lines = path.read_text().splitlines()
        path.write_text("\n".join([header, *(line.replace(",ok,", ",timeout,") for line in lines)]) + "\n")
    found = replayed(folder)
    assert "baseline: poisson 20/s not compared: nothing was answered" in found.left_out
    assert [load.offered_rps for load in found.agreements] == [60.0]
