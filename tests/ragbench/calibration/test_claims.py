"""What a calibration says of itself: true and false figures both."""

import json
from dataclasses import replace

import pytest

from ragbench.calibration import figures, queues, run, stall
from ragbench.calibration.queues import Cell
from ragbench.calibration.rates import Sent, highest_clean_rps, rising
from ragbench.calibration.run import Calibration
from ragbench.calibration.stall import Seen

SENT = Sent(1, 500.0, 20.0, 500.4, 0.03, 1e-4, 2e-4, 3e-4, 1e-3, 4e-4, 6e-4, 0.2, "valid", "sent on time")
CELL = Cell("M/D/1", 0.3, 7, 400, 0.0243, 0.0243, 0.0245, 0.024, 0.025, 0.0414, 0.0414, 0.042, 0.039, 0.05, "valid")
SEEN = (Seen("open", 500, 0.006, 0.7, 0.93, 1.006, 0.932), Seen("closed", 1600, 0.006, 0.006, 0.006, 1.006, None))


def calibration(**changes):
    whole = {"sent": {1: [SENT], 2: [replace(SENT, processes=2)]}, "cells": [CELL] * 6, "seen": SEEN}
    return Calibration(**(whole | changes))


def failing(found):
    return [claim.text for claim in found.claims if not claim.holds]


def test_all_holds():
    assert failing(calibration()) == []
    assert len(calibration().claims) == 7


@pytest.mark.parametrize(
    "change", [{"sent_rps": 501.1}, {"sent_rps": 498.9}, {"gap_cv": 0.1}, {"send_lag_p99_s": 0.0021}]
)
def test_a_client_that_does_not_send_as_asked_is_told(change):
    found = calibration(sent={1: [replace(SENT, **change)]})
    assert [text[:13] for text in failing(found)] == ["at 500/s even"]


def test_one_queue_of_six_may_miss_theory_and_no_more():
    missed = replace(CELL, mean_low_s=0.0244)
    tail = replace(CELL, p95_high_s=0.041)
    unknown = replace(CELL, p95_low_s=None, p95_high_s=None)
    assert failing(calibration(cells=[CELL] * 4 + [unknown, missed])) == []
    assert failing(calibration(cells=[CELL] * 4 + [tail, missed]))[0].startswith(
        "theory inside the 95% interval in 4 of the 6 queues"
    )
    short = replace(missed, mean_low_s=None, mean_high_s=None, p95_low_s=None, p95_high_s=None)
    assert failing(calibration(cells=[CELL] * 3 + [short, missed, missed]))[0].startswith(
        "theory inside the 95% interval in 3 of the 5 queues"
    )


def test_a_mean_five_per_cent_off_is_told():
    far = replace(CELL, mean_s=0.0256, mean_exact_s=0.0256, mean_high_s=0.03)
    assert failing(calibration(cells=[CELL] * 5 + [far])) == [
        "means within 5% of theory: the worst is M/D/1 at 0.3, +5.3%"
    ]


@pytest.mark.parametrize("change", [{"mean_exact_s": 0.0233}, {"p95_exact_s": 0.0399}])
def test_a_queue_off_its_own_exact_solution_is_told(change):
    (told,) = failing(calibration(cells=[CELL] * 5 + [replace(CELL, **change)]))
    assert told.startswith("means and 95th percentiles within 5% of the same draw solved exactly: the worst is M/D/1 a")
    assert told.endswith((", +5.2%", ", +5.3%"))


def test_a_stall_that_the_open_loop_misses_is_told():
    assert "open-loop p99 0.880 s" in stall.faults(replace(SEEN[0], latency_p99_s=0.88), SEEN[1])[0]
    assert "saw the stall" in stall.faults(SEEN[0], replace(SEEN[1], latency_p99_s=0.1))[0]
    assert [text[:8] for text in failing(calibration(seen=(replace(SEEN[0], latency_p99_s=0.5), SEEN[1])))] == [
        "a 1 s st"
    ]


def test_the_highest_clean_rate_has_only_clean_ones_below_it():
    bad = {"verdict": "client_limited"}
    rates = [replace(SENT, asked_rps=r, **({} if r != 2000 else bad)) for r in (500.0, 1000.0, 2000.0, 3000.0)]
    assert highest_clean_rps(rates) == 1000.0
    assert highest_clean_rps([replace(SENT, **bad)]) is None


def test_expected_p99_of_the_stall_by_hand():
    # 250 requests in 5 s, window from 0.5 s: 225 of them. The i-th from the stalled one waits 1.005 - 0.015 i s; the
    # 99th percentile lies 2.24 from the top: between i = 2 (0.975) and i = 3 (0.960), at 0.975 - 0.24 x 0.015.
    assert stall.expected_p99_s(5.0) == pytest.approx(0.975 - 0.24 * 0.015, abs=1e-9)


def test_the_seed_chosen_lies_near_theory():
    seed = queues.nearest_seed("exponential", 0.8, 20.0)
    mean, p95 = queues.solved("exponential", 0.8, 20.0, seed)
    assert mean == pytest.approx(5 * queues.MEAN_S, rel=0.05)
    assert p95 == pytest.approx(14.979 * queues.MEAN_S, rel=0.05)


def test_the_files_hold_the_claims(tmp_path):
    run.write(calibration(), tmp_path, about={"hardware": "this one"})
    assert (tmp_path / "rates.csv").read_text().splitlines()[1].startswith("1,500,20,500.4,0.03")
    assert len((tmp_path / "queues.csv").read_text().splitlines()) == 7
    told = json.loads((tmp_path / "calibration.json").read_text())
    assert all(claim["holds"] for claim in told["claims"])
    assert told["hardware"] == "this one"


def test_the_files_can_be_read_back(tmp_path):
    unknown = replace(CELL, p95_low_s=None, p95_high_s=None)
    found = calibration(cells=[CELL, unknown])
    run.write(found, tmp_path, about={})
    assert run.load(tmp_path) == found


def test_the_queues_are_judged_after_the_warm_up():
    """400 requests at 20/s, solved one by one; those due in the first tenth of the 20 s do not count."""
    due, service = queues._due(0.6 / 0.03, 20.0, 3), 0.03
    free, spent = 0.0, []
    for at in due:
        free = max(free, at) + service
        spent.append((at, free - at))
    steady = [took for at, took in spent if at >= spent[0][0] + 2.0]
    assert len(steady) < len(spent)
    assert queues.solved("deterministic", 0.6, 20.0, 3)[0] == pytest.approx(sum(steady) / len(steady), rel=1e-9)


@pytest.mark.slow
def test_the_figures_show_what_is_not_clean(tmp_path):
    slow = replace(SENT, asked_rps=1000.0, send_lag_p99_s=0.02, verdict="client_limited")
    (axes,) = figures.rates(calibration(sent={1: [SENT, slow]})).axes
    hollow = [dot.get_xdata()[0] for dot in axes.lines if dot.get_marker() == "o" and dot.get_mfc() == "white"]
    assert hollow == [1000.0] * 3  # p50, p95, p99
    unknown = replace(CELL, p95_low_s=None, p95_high_s=None)
    means, tails = figures.known_queues(calibration(cells=[CELL, unknown])).axes
    assert (len(means.collections), len(tails.collections)) == (2, 1)  # one interval is not known
    assert {path.name for path in figures.save(calibration(), tmp_path)} == {
        f"{name}.{kind}" for name in ("rates", "queues", "stall") for kind in ("png", "svg", "drawn.csv")
    }


async def test_a_rate_is_really_sent():
    said = []
    found = await rising(1, first_s=0.4, each_s=0.1, rising_rps=(), report=said.append)
    assert len(found) == 1
    assert said[0] == "1 client process at 500/s for 0.4 s"
    assert found[0].asked_rps == 500.0
    assert found[0].sent_rps == pytest.approx(500, rel=0.05)
    assert 0 < found[0].latency_p50_s < 0.1


def test_a_queue_that_was_not_answered_fails_the_means():
    dead = replace(CELL, mean_s=float("inf"), mean_low_s=None, mean_high_s=None, verdict="failed")
    assert any("means within" in text for text in failing(calibration(cells=[CELL] * 5 + [dead])))
    assert any("means within" in text for text in failing(calibration(cells=[dead] + [CELL] * 5)))


def test_a_loop_that_saw_the_stall_is_not_called_blind():
    (told,) = [c for c in calibration(seen=(SEEN[0], replace(SEEN[1], latency_p99_s=0.9))).claims if "stall" in c.text]
    assert not told.holds
    assert told.text.endswith("the closed loop saw the stall: p99 0.900 s")


def test_a_disturbed_rate_says_nothing_either_way():
    disturbed = replace(SENT, asked_rps=1000.0, verdict="contaminated")
    assert highest_clean_rps([SENT, disturbed, replace(SENT, asked_rps=2000.0)]) == 2000.0
    assert highest_clean_rps([SENT, disturbed]) == 500.0
