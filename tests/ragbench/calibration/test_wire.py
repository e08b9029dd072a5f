"""Every calibration service over the real wire: the harness's own client, a server process, rows as of any point.

What a service took is what its Server-Timing says; those times are exact, whatever else this machine does.
"""

import csv
import dataclasses
import json
import sys

import numpy as np
import pytest

from ragbench.__main__ import main
from ragbench.calibration import run, stall
from ragbench.calibration.queueing import service_times, sojourns
from ragbench.calibration.server import SERVICES
from ragbench.calibration.trial import measured

WIRE_S = 0.1  # what a busy machine may add to an answer, here and there


def in_turn(measurement):
    """The rows as the server numbered them."""
    assert {row.status for row in measurement.rows} == {"ok"}
    return sorted(measurement.rows, key=lambda row: int(row.result.removeprefix("request ")))


def test_every_service_has_a_test_here():
    assert set(SERVICES) == {"null", "deterministic", "exponential", "batch"}


@pytest.mark.timing
async def test_null_answers_at_once():
    rows = in_turn(await measured("--service null", rate=100, duration_s=1.0))
    assert [row.result for row in rows] == [f"request {n}" for n in range(100)]
    assert {row.generate_s for row in rows} == {0.0}
    assert np.median([row.latency_s for row in rows]) < WIRE_S


@pytest.mark.timing
async def test_deterministic_takes_the_same_time_for_all():
    rows = in_turn(await measured("--service deterministic --mean-s 0.02", rate=40, duration_s=1.0))
    assert {row.generate_s for row in rows} == {0.02}
    assert all(row.latency_s >= 0.02 for row in rows)


@pytest.mark.timing
@pytest.mark.parametrize("processes", [1, 2])
async def test_exponential_takes_the_times_that_were_drawn(processes):
    flags = "--service exponential --mean-s 0.02 --seed 7"
    found = await measured(flags, arrival="poisson", rate=30, duration_s=2.5, processes=processes)
    rows = in_turn(found)
    drawn = service_times("exponential", 0.02, n=len(rows), seed=7)
    assert len(rows) > 40
    assert [row.generate_s for row in rows] == pytest.approx(drawn.tolist(), abs=1e-6)
    assert len({row.generate_s for row in rows}) > 0.9 * len(rows)
    # The queue is that of theory: by when each was sent and what each took, nobody is answered before their turn.
    sent = np.array([row.sent_s for row in rows])
    late = np.array([row.done_s for row in rows]) - sent - sojourns(sent, drawn)
    assert np.median(late) < WIRE_S
    assert late.min() > -WIRE_S


@pytest.mark.timing
async def test_batch_takes_a_and_b_for_each_of_a_batch():
    rows = in_turn(await measured("--service batch --a-s 0.05 --b-s 0.01 --max-batch-size 4", rate=60, duration_s=1.5))
    sizes = [row.batch_size for row in rows]
    assert rows[0].batch_size == 1  # it comes to an idle server
    assert max(sizes) == 4
    assert [row.generate_s for row in rows] == pytest.approx([0.05 + 0.01 * size for size in sizes], abs=1e-6)
    at, closed = 0, []
    while at < len(sizes):  # batches are runs of neighbours, each as long as it says
        closed.append(sizes[at : at + sizes[at]])
        at += sizes[at]
    assert all(set(batch) == {len(batch)} for batch in closed)


@pytest.mark.timing
async def test_a_stall_is_seen_once_and_p99_follows_arithmetic():
    opened, closed = await stall.both(duration_s=4.0)
    assert 1.0 <= opened.latency_max_s < 1.0 + 2 * WIRE_S
    assert opened.latency_p99_s == pytest.approx(stall.expected_p99_s(4.0), rel=0.1)
    assert 1.0 <= closed.latency_max_s < 1.0 + 2 * WIRE_S
    assert closed.latency_p95_s < 0.2


@pytest.mark.timing
async def test_the_stall_is_one_request_long():
    flags = "--service deterministic --mean-s 0.001 --stall-s 0.5 --stall-at-request 20"
    rows = in_turn(await measured(flags, rate=40, duration_s=1.5))
    assert [n for n, row in enumerate(rows) if row.generate_s > 0.1] == [20]
    assert rows[20].generate_s == pytest.approx(0.501)


@pytest.mark.slow
def test_the_command_runs_from_end_to_end(monkeypatch, capsys, tmp_path):
    """All its parts at once, shorter. How busy the machine is decides claims (1); what is served decides the rest."""
    short = dataclasses.replace(
        run.QUICK, first_s={1: 0.5, 2: 0.5}, each_s={1: 0.5, 2: 0.5}, queues_s=5.0, stall_s=4.0, rising_rps=()
    )
    monkeypatch.setattr(run, "QUICK", short)
    monkeypatch.setattr(sys, "argv", ["ragbench", "calibrate", "--quick", "--out", str(tmp_path / "found")])
    with pytest.raises(SystemExit) as end:
        main()
    out, err = capsys.readouterr()
    told = json.loads((tmp_path / "found" / "calibration.json").read_text())
    holds = {claim["text"]: claim["holds"] for claim in told["claims"]}
    assert (end.value.code or 0) == (0 if all(holds.values()) else 1)
    assert "Traceback" not in err
    assert len(holds) == 7
    assert all(text.split(":")[0] in out for text in holds)
    queues = list(csv.DictReader((tmp_path / "found" / "queues.csv").read_text().splitlines()))
    assert [(row["queue"], row["utilisation"]) for row in queues] == [
        (queue, load) for queue in ("M/D/1", "M/M/1") for load in ("0.3", "0.6", "0.8")
    ]
    for row in queues:  # the wire adds some, and takes nothing
        for figure in ("mean", "p95"):
            assert -0.002 < float(row[f"{figure}_s"]) - float(row[f"{figure}_exact_s"]) < WIRE_S
    stalls = list(csv.DictReader((tmp_path / "found" / "stall.csv").read_text().splitlines()))
    assert all(1.0 <= float(row["latency_max_s"]) < 1.0 + 2 * WIRE_S for row in stalls)
    assert {path.name for path in (tmp_path / "found").glob("*.png")} == {"rates.png", "queues.png", "stall.png"}
