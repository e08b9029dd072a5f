"""What a study's service times are fitted to, and what is said of everything else."""

import json

import pytest

from ragbench.results.paths import StudyPaths
from ragbench.simulator.fitting import choose, fits
from ragbench.simulator.service_times import FitError
from tests.ragbench.simulator.known import Contended, line, on_a_line
from tests.ragbench.simulator.measured import write_measured

RATES = (20, 60)


@pytest.fixture
def folder(tmp_path):
    return write_measured(tmp_path, line(0.006, 0.002), rates=RATES, seeds=(1,), designs=("baseline", "batched"))


def change(folder, name, **changes):
    """Into the manifest of `baseline-poisson-20rps-seed1` and its like, part by part."""
    path = folder / f"{name}-seed1" / "manifest.json"
    manifest = json.loads(path.read_text())
    for part, values in changes.items():
        manifest[part] = values if manifest.get(part) is None or values is None else manifest[part] | values
    path.write_text(json.dumps(manifest))


def fitted(folder):
    return fits(StudyPaths(folder))


def test_everything_that_can_be_simulated_is_and_nothing_is_said(folder):
    found = fitted(folder)
    assert [one.name for one in found.fitted] == ["baseline", "batched max_batch_size=8"]
    assert found.left_out == []


@pytest.mark.parametrize("verdict", ["contaminated", "client_limited", "failing", "failed"])
def test_points_whose_times_are_not_the_designs_own_are_simulated_but_not_fitted_to(folder, verdict):
    before = {one.name: one for one in fitted(folder).fitted}["baseline"]
    change(folder, "baseline-poisson-60rps", summary={"verdict": verdict})
    found = fitted(folder)
    after = {one.name: one for one in found.fitted}["baseline"]
    assert found.left_out == [f"baseline: baseline-poisson-60rps-seed1 not fitted to: {verdict}"]
    assert (len(after.points), after.times.batches) == (2, before.times.batches - 180)


@pytest.mark.parametrize("verdict", ["saturated", "shedding"])
def test_a_queue_takes_nothing_from_the_times_of_a_batch(folder, verdict):
    change(folder, "baseline-poisson-60rps", summary={"verdict": verdict})
    assert fitted(folder).left_out == []


def test_batches_of_the_pipeline_alone_keep_the_network_that_was_measured(tmp_path):
    times = Contended(0.006, 0.002, contention=0.3)
    folder = write_measured(tmp_path, times, rates=(20,), seeds=(1,), designs=("baseline",))
    (one,) = fits(StudyPaths(folder), batches=on_a_line(0.0, 0.001)).fitted
    assert (one.times.a_s, one.times.b_s) == (pytest.approx(0.0, abs=1e-9), pytest.approx(0.001))
    assert one.times.way_in_s > 0.0001


def test_a_rate_is_left_out_with_all_its_points(folder):
    design = fitted(folder).fitted[0]
    assert design.times.batches == 60 + 180
    assert design.without(60).batches == 60
    assert design.without(20).batches == 180


def test_a_rate_without_which_there_is_nothing_cannot_be_left_out(tmp_path):
    folder = write_measured(tmp_path, line(0.006, 0.002), rates=(20,), seeds=(1,), designs=("baseline",))
    with pytest.raises(FitError, match="0 batches are too few"):
        fitted(folder).fitted[0].without(20)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"server_info": {"design": "mine"}}, "there is no model of 'mine'; known: baseline, batched, scaled"),
        (
            {"server_info": {"design": ["batched"]}},
            "there is no model of ['batched']; known: baseline, batched, scaled",
        ),
        ({"server_info": {"design": "batched", "settings": 3}}, "its server did not tell its settings"),
        ({"server_info": None}, "there is no model of a server that does not tell its design"),
    ],
)
def test_a_design_without_a_model_is_named(folder, changes, told):
    for rate in RATES:
        change(folder, f"baseline-poisson-{rate}rps", **changes)
    found = fitted(folder)
    assert [one.design for one in found.fitted] == ["batched"]
    assert len(found.left_out) == 1
    points = "baseline-poisson-20rps-seed1, baseline-poisson-60rps-seed1"
    assert found.left_out[0].startswith(f"baseline: {points} not simulated: ")
    assert told in found.left_out[0]
    with pytest.raises(FitError, match=r"no design 'baseline' to fit to; there: batched; baseline: .* not simulated"):
        choose(found, "baseline")


def test_a_design_that_tells_no_stages_is_named(folder):
    for rate in RATES:
        path = folder / f"baseline-poisson-{rate}rps-seed1" / "requests.csv"
        header, *rows = path.read_text().splitlines()
        place = header.split(",").index("generate_s")
        blank = [",".join("" if n == place else cell for n, cell in enumerate(row.split(","))) for row in rows]
        path.write_text("\n".join([header, *blank]) + "\n")
    assert fitted(folder).left_out == [
        "baseline: not simulated: 0 batches are too few to fit service times to; wanted 5 or more"
    ]


def test_points_without_a_schedule_or_without_rows_are_named(folder):
    change(folder, "baseline-poisson-60rps", point={"offered_rps": None, "concurrency": 4})
    (folder / "baseline-poisson-20rps-seed1" / "requests.csv").unlink()
    path = folder / "batched-poisson-60rps-seed1" / "requests.csv"
    path.write_text(path.read_text().splitlines()[0] + "\n")
    assert fitted(folder).left_out == [
        "baseline: baseline-poisson-20rps-seed1 not simulated: its requests were not kept",
        "baseline: baseline-poisson-60rps-seed1 not simulated: in closed loop there is no schedule",
        "batched max_batch_size=8: batched-poisson-60rps-seed1 not simulated: no request was scheduled",
    ]


def test_a_point_is_left_out_alone(folder):
    """Its server never came up, or its rows are damaged: the design's other point is still simulated."""
    change(folder, "baseline-poisson-60rps", server_info=None)
    path = folder / "batched-poisson-60rps-seed1" / "requests.csv"
    path.write_text(path.read_text() + "1,2\n")
    found = fitted(folder)
    assert [[point.offered_rps for point in one.points] for one in found.fitted] == [[20], [20]]
    assert len(found.left_out) == 2
    assert found.left_out[0].startswith("baseline: baseline-poisson-60rps-seed1 not simulated: there is no model of a")
    assert found.left_out[1].startswith("batched max_batch_size=8: batched-poisson-60rps-seed1 not simulated: ")
    assert "line 182: 2 cells" in found.left_out[1]


def test_many_points_are_counted(tmp_path):
    rates = (20, 30, 40, 50, 60)
    folder = write_measured(tmp_path, line(0.006, 0.002), rates=rates, seeds=(1,), designs=("baseline",))
    for rate in rates[1:]:
        change(folder, f"baseline-poisson-{rate}rps", summary={"verdict": "failing"})
    assert fitted(folder).left_out == ["baseline: 4 points not fitted to: failing"]


def test_points_of_two_machines_are_never_fitted_together(folder):
    change(folder, "baseline-poisson-60rps", summary={"hardware": "a desktop"})
    names = sorted(one.name for one in fitted(folder).fitted)
    assert names == [
        "baseline on a desktop (here)",
        "baseline on a laptop (here)",
        "batched max_batch_size=8 on a laptop (here)",
    ]


def test_points_of_two_states_of_the_code_are_never_fitted_together(folder):
    path = folder / "baseline-poisson-60rps-seed1" / "manifest.json"
    path.write_text(path.read_text().replace("c0de" * 16, "beef" * 16))
    names = sorted(one.name for one in fitted(folder).fitted)
    assert names[0].startswith("baseline, code beefbeef")
    assert names[1].startswith("baseline, code c0dec0de")
    assert len(names) == 3


def test_nothing_to_fit_says_why(folder):
    for design in ("baseline", "batched"):
        for rate in RATES:
            change(folder, f"{design}-poisson-{rate}rps", server_info={"design": "mine"})
    with pytest.raises(FitError, match=r"nothing to fit in .*baseline: .* not simulated: there is no model of 'mine'"):
        fitted(folder)
