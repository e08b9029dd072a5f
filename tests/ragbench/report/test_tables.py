import pytest

from ragbench import plots
from ragbench.report import tables
from ragbench.results.folder import Study
from tests.ragbench.results_fixture import write_study


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results") / "it"
    return plots.load_study(write_study(folder, arrivals=("poisson",), rates=(5, 10, 20), seeds=(1, 2), duration_s=1))


def test_carried_stops_below_the_first_rate_that_was_not_valid_for_every_seed(study):
    summary = study.summary.assign(verdict="valid", latency_p95_s=study.summary["seed"].astype(float))
    summary.loc[
        (summary["design"] == "scaled") & (summary["offered_rps"] == 10) & (summary["seed"] == 2), "verdict"
    ] = "saturated"
    summary.loc[(summary["design"] == "baseline") & (summary["offered_rps"] == 5), "verdict"] = "failed"
    rows = tables.carried(Study("it", summary, study.folder)).set_index(["design", "seed"])
    assert rows.loc["scaled", "carried_rps"].tolist() == [5, 5]
    assert rows.loc["scaled", "latency_p95_s"].tolist() == [1.0, 2.0]  # each seed's own, and no mean of the two
    assert rows.loc["baseline", "carried_rps"].isna().all()
    assert rows.loc["baseline", "latency_p95_s"].isna().all()
    assert rows.loc["batched, max_batch_size 8", "carried_rps"].tolist() == [20, 20]


def test_carried_of_one_seed_has_a_row_a_design_and_the_share_answered(study):
    summary = study.summary[study.summary["seed"] == 1].assign(verdict="valid", answered_share=0.9)
    rows = tables.carried(Study("it", summary, study.folder))
    assert "seed" not in rows
    assert rows["answered_share"].tolist() == [0.9] * 4
    assert tables.points(Study("it", summary, study.folder))["answered_share"].tolist() == [0.9] * 12


def test_points_has_every_point_once_in_the_order_of_the_figures(study):
    rows = tables.points(study)
    assert len(rows) == 4 * 3 * 2
    assert list(dict.fromkeys(rows["design"])) == [
        "baseline",
        "batched, max_batch_size 8",
        "batched, max_batch_size 32",
        "scaled",
    ]
    assert rows["offered_rps"].tolist()[:6] == [5, 5, 10, 10, 20, 20]


def test_points_leaves_out_what_no_point_has_and_reasons_tell_of_those_not_valid(study):
    verdicts = ["contaminated", *["valid"] * 23]
    told = study.summary.assign(verdict=verdicts, verdict_reason=["a backup ran", *["sent on time"] * 23])
    columns = set(tables.points(Study("it", told, study.folder)).columns)
    assert {"latency_p95_s", "latency_p95_low_s", "seed"} <= columns
    assert not {"concurrency", "slo_met", "unaccounted_s"} & columns
    (row,) = tables.reasons(Study("it", told, study.folder)).to_dict("records")
    assert row == {
        "design": "baseline",
        "arrival": "poisson",
        "offered_rps": 5,
        "seed": 1,
        "verdict": "contaminated",
        "answered_share": 1.0,
        "verdict_reason": "a backup ran",
    }


def test_f1_is_shown_where_a_study_has_it(study):
    old = Study("it", study.summary.assign(f1=float("nan")), study.folder)
    assert tables.carried(study)["f1"].tolist() == [1.0] * 8
    assert "f1" in tables.points(study)
    assert "f1" not in tables.carried(old)
    assert "f1" not in tables.points(old)


def test_closed_loops_have_points_and_carry_no_offered_load(tmp_path):
    one = write_study(tmp_path / "it", designs={"mine": [{}]}, arrivals=("ideal",), rates=(5,), users=(2,))
    closed = plots.load_study(one)
    assert tables.carried(closed)["arrival"].tolist() == ["ideal"]
    rows = tables.points(closed)
    assert rows["arrival"].tolist() == ["closed", "ideal"]
    assert rows["concurrency"].tolist()[0] == 2


def test_summarised_counts_points_and_verdicts(study):
    verdicts = ["failed", *["valid"] * 23]
    text = tables.summarised(Study("it", study.summary.assign(verdict=verdicts, requests=100), study.folder))
    assert text == "24 points, 2,400 requests: 23 valid, 1 failed."
