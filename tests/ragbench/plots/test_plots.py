import io
import re
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from ragbench import plots
from ragbench.plots.distribution import common_rates, slower
from ragbench.plots.lines import lines, one_each, runs
from ragbench.plots.replicas import changes, in_flight, queue_wait_p95
from ragbench.plots.stages import shares
from ragbench.plots.style import arrivals_title
from ragbench.results.folder import Study, locate
from ragbench.results.records import DECISIONS, Decision
from tests.ragbench.results_fixture import HARDWARE, write_study

ODD = {
    "one design, one rate": {"designs": {"mine": [{}]}, "arrivals": ("ideal",), "rates": (20,)},
    "no stages, one rate failed": {
        "arrivals": ("ideal",),
        "has_stages": False,
        "failed": [("baseline", 40)],
        "rates": (10, 40),
    },
    "nothing answered": {"designs": {"mine": [{}]}, "rates": (20,), "failed": [("mine", 20)]},
    "eight designs": {
        "designs": {**{f"d{n}": [{}] for n in range(7)}, "scaled_a": [{"x": 1}, {"x": 2}]},
        "arrivals": ("poisson",),
        "rates": (10,),
    },
    "closed loop only": {"designs": {"mine": [{}]}, "rates": (), "users": (1, 4)},
    "two seeds, gamma": {
        "designs": {"mine": [{}], "scaled": [{}]},
        "arrivals": ("gamma:cv=3", "poisson"),
        "seeds": (1, 2),
        "rates": (10, 40),
    },
}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return plots.load_study(write_study(tmp_path_factory.mktemp("results") / "three", seeds=(1, 2), users=(2, 8)))


def _marks(axes, gid):
    """x and y of every mark of a kind, sorted."""
    found = [line.get_xydata() for line in axes.get_lines() if line.get_gid() == gid]
    return sorted(map(tuple, np.concatenate(found).tolist())) if found else []


def _texts(figure):
    return " ".join(text.get_text() for text in figure.texts)


def _legend(figure):
    return " | ".join(text.get_text() for legend in figure.legends for text in legend.get_texts())


@pytest.mark.parametrize("name", plots.FIGURES)
def test_figure_labels_axes_with_units_and_names_its_study_and_machine(study, name):
    figure = plots.FIGURES[name](study)
    labels = [text for axes in figure.axes for text in (axes.get_xlabel(), axes.get_ylabel()) if text]
    assert len(labels) >= 2
    assert all(re.search(r"\(.+\)", label) for label in labels), labels
    assert "three" in _texts(figure)
    assert HARDWARE in _texts(figure).replace("\n", " ")
    assert "2 seeds" in _texts(figure).replace("\n", " ")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two studies of one name that differ in what a batch costs; more is offered than they carry."""
    two = {"batched": [{"max_batch_size": 4}], "scaled": [{"max_batch_size": 8}]}
    places = [(tmp_path_factory.mktemp("pair") / "it", base_s) for base_s in (0.02, 0.05)]
    loads = {"rates": (5, 80), "users": (1, 16), "duration_s": 1}
    folders = [write_study(place, designs=two, base_s=base_s, **loads) for place, base_s in places]
    return [_overloaded(plots.load_study(folder), rate=80, verdict="saturated") for folder in folders]


@pytest.mark.parametrize("name", plots.FIGURES)
def test_figure_differs_for_other_data(pair, name):
    one, other = (plots.rendered(plots.FIGURES[name](each), "svg") for each in pair)
    assert one != other


def test_figure_is_the_same_file_for_the_same_data(pair):
    assert len({plots.rendered(plots.FIGURES["arrivals"](pair[0]), "svg") for _ in range(2)}) == 1


@pytest.mark.slow
@pytest.mark.parametrize("odd", ODD)
def test_odd_study_draws(tmp_path, odd):
    study = plots.load_study(write_study(tmp_path / "odd", **ODD[odd]))
    figures = {name: draw(study) for name, draw in plots.FIGURES.items()}
    for figure in figures.values():
        if figure is not None:
            figure.draw_without_rendering()
    assert (figures["throughput"] is None) == (odd == "closed loop only")
    assert (figures["latency"] is None) == (odd in ("nothing answered", "closed loop only"))
    assert (figures["arrivals"] is None) == (len(study.arrivals) < 2 or odd == "nothing answered")
    assert (figures["users"] is None) == (odd != "closed loop only")
    overloaded = study.open_loop.summary["verdict"].isin(["failed", "saturated"]).any()
    assert (figures["overload"] is None) == (not overloaded)
    assert (figures["replicas"] is None) == (not any(v.startswith("scaled") for v in study.summary["design"]))


def test_latency_draws_every_run_and_never_a_mean_of_percentiles(study):
    figure = plots.FIGURES["latency"](study)
    assert len(figure.axes) == 4 * 2
    p99_poisson = figure.axes[7]
    assert p99_poisson.get_ylabel() == ""
    assert p99_poisson.get_xscale() == p99_poisson.get_yscale() == "log"
    rows = study.summary.query("arrival == 'poisson' and design == 'scaled' and offered_rps == 120")
    one, other = rows["latency_p99_s"]
    assert one != other
    drawn = _marks(p99_poisson, "valid") + _marks(p99_poisson, "not valid")
    assert len(drawn) == 4 * 3 * 2  # lines, rates, seeds
    assert {one, other} < {y for x, y in drawn if x == 120}
    joined = [line.get_ydata()[-1] for line in p99_poisson.get_lines() if line.get_gid() is None]
    assert {one, other} < set(joined)  # a line a seed, through its own runs
    assert (one + other) / 2 not in joined
    assert "a mark is a run, a line is a seed" in _legend(figure)


@pytest.mark.parametrize("name", ["latency", "batches", "arrivals", "users"])
def test_no_figure_joins_the_percentiles_of_seeds(study, name):
    """Two seeds whose percentiles are 1 and 3 show 1 and 3, and nowhere 2."""
    percentiles = [column for column in study.summary if re.match(r"latency_p\d+_s", column)]
    told = study.summary.assign(**dict.fromkeys(percentiles, 2.0 * study.summary["seed"] - 1))
    figure = plots.FIGURES[name](Study("three", told.assign(verdict="valid"), study.folder))
    drawn = {float(y) for axes in figure.axes for line in axes.get_lines() for y in line.get_ydata()}
    assert {1.0, 3.0} <= drawn
    assert 2.0 not in drawn


@pytest.mark.slow
def test_points_that_are_not_valid_are_hollow_and_the_legend_says_so(study):
    summary = study.summary.assign(verdict="valid")
    summary.loc[(summary["design"] == "scaled") & (summary["offered_rps"] == 40), "verdict"] = "client_limited"
    figure = plots.FIGURES["latency"](Study("three", summary, study.folder))
    assert {x for x, _ in _marks(figure.axes[0], "not valid")} == {40.0}
    hollow = [line for line in figure.axes[0].get_lines() if line.get_gid() == "not valid"]
    assert {line.get_markerfacecolor() for line in hollow} == {"white"}
    assert "hollow: not valid (client_limited)" in _legend(figure)
    clean = plots.FIGURES["latency"](Study("three", summary.assign(verdict="valid"), study.folder))
    assert "not valid" not in _legend(clean)


def test_failed_points_are_crosses_at_the_edge(tmp_path):
    study = plots.load_study(write_study(tmp_path / "it", failed=[("baseline", 120)]))
    for name, edge in (("latency", 1.0), ("throughput", 0.0)):
        figure = plots.FIGURES[name](study)
        assert _marks(figure.axes[0], "no value") == [(120.0, edge)]
        assert "at the edge: no value" in _legend(figure)


def test_throughput_lies_over_what_was_due_not_over_the_rate(study):
    """A Poisson point that drew 22.3/s of 30 and answered all of it has lost nothing."""
    summary = study.summary.assign(verdict="valid", due_rps=study.summary["offered_rps"] * 0.74)
    figure = plots.FIGURES["throughput"](Study("three", summary, study.folder))
    due = [line.get_xydata().tolist() for line in figure.axes[0].get_lines() if line.get_gid() == "due_rps"]
    assert due == [[[10.0, 7.4], [40.0, 29.6], [120.0, 88.8]]] * 2  # once a seed
    assert "dashed: due_rps: all that was due" in _legend(figure)


def test_throughput_of_before_due_rps_says_that_a_seed_draws_more_or_less(study):
    old = Study("three", study.summary.assign(due_rps=np.nan), study.folder)
    figure = plots.FIGURES["throughput"](old)
    assert {x for x, y in _marks(figure.axes[0], "due_rps") if x != y} == set()
    assert "offered_rps, of which a seed draws more or less" in _legend(figure)


def _pair(study, **columns):
    """The study with p95 0.1 s under even arrivals and 0.25 s under Poisson ones, all valid."""
    summary = study.summary.assign(verdict="valid", latency_p95_s=0.1)
    summary.loc[summary["arrival"] == "poisson", "latency_p95_s"] = 0.25
    ends = {"latency_p95_low_s": summary["latency_p95_s"] / 1.5, "latency_p95_high_s": summary["latency_p95_s"] * 1.5}
    return summary.assign(**{**ends, **columns})


def test_arrivals_heads_each_pair_with_its_ratio_and_interval_and_hollows_what_is_not_valid(study):
    summary = _pair(study)
    summary = summary[summary["seed"] == 1]
    summary.loc[(summary["design"] == "baseline") & (summary["offered_rps"] == 120), "verdict"] = "saturated"
    figure = plots.FIGURES["arrivals"](Study("three", summary, study.folder))
    # Each end lies 1.5 times away, so that the ratio's are exp(sqrt(2) ln 1.5) = 1.77 times away.
    assert [text.get_text() for text in figure.axes[0].texts] == ["\N{MULTIPLICATION SIGN}2.5\n1.4 to 4.4"] * 2
    assert len(figure.axes[1].texts) == 3
    assert [len(_marks(axes, "not valid")) for axes in figure.axes] == [2, 0, 0]
    assert [y for _, y in _marks(figure.axes[1], "valid")] == [0.1, 0.25] * 3
    assert figure.axes[0].get_yscale() == "log"
    assert not figure.axes[0].patches


def test_two_seeds_make_the_interval_of_a_ratio_narrower(study):
    figure = plots.FIGURES["arrivals"](Study("three", _pair(study), study.folder))
    assert {text.get_text() for text in figure.axes[0].texts} == {"\N{MULTIPLICATION SIGN}2.5\n1.7 to 3.8"}
    assert len(_marks(figure.axes[0], "valid")) == 2 * 3 * 2  # and each run has its mark


@pytest.mark.parametrize("low_s", [np.nan, 0.0, 9.0])
def test_no_ratio_without_its_interval(study, low_s):
    figure = plots.FIGURES["arrivals"](Study("three", _pair(study, latency_p95_low_s=low_s), study.folder))
    assert not [text for axes in figure.axes for text in axes.texts]


def _overloaded(study, rate=120, **columns):
    """The study's points at `rate` got too much; few were answered, and no p99 is known."""
    summary = study.summary.assign(verdict="valid", answered_share=1.0, rejected=0)
    much = summary["offered_rps"] == rate
    for name, value in ({"verdict": "failing", "answered_share": 0.234, "latency_p99_s": np.nan} | columns).items():
        summary.loc[much, name] = value
    return Study(study.name, summary, study.folder)


def test_the_share_answered_stands_beside_a_failing_point_and_what_is_infinite_at_the_top(study):
    figure = plots.FIGURES["latency"](_overloaded(study))
    p50, p99 = figure.axes[2], figure.axes[6]
    assert {text.get_text() for text in p50.texts} == {"23%"}
    assert {x for x, _ in _marks(p50, "not valid")} == {120.0}
    assert set(_marks(p99, "no value")) == {(120.0, 1.0)}
    assert {text.get_text() for text in p99.texts} == {"23%"}
    gaps = [line.get_ydata() for line in p99.get_lines() if line.get_gid() is None]
    assert all(np.isnan(ys[-1]) for ys in gaps)
    assert "hollow: not valid (failing); %: share answered" in _legend(figure)
    assert "at the edge: no value, too few were answered" in _legend(figure)


def test_any_point_that_left_many_unanswered_has_its_share_and_one_that_answered_all_has_none(study):
    for verdict, share, told in (("shedding", 0.4, {"40%"}), ("saturated", 0.9, {"90%"}), ("failing", 1.0, set())):
        figure = plots.FIGURES["throughput"](_overloaded(study, verdict=verdict, answered_share=share))
        assert {text.get_text() for text in figure.axes[0].texts} == told
        assert ("%: share answered" in _legend(figure)) == bool(told)


def test_shares_at_one_place_of_the_edge_stand_one_below_the_other(study):
    p99 = plots.FIGURES["latency"](_overloaded(study)).axes[6]
    heights = [text.xyann[1] for text in p99.texts]
    assert len(heights) > 1
    assert len(set(heights)) == len(heights)


def test_seeds_of_one_load_have_one_text_for_their_shares(study):
    few = _overloaded(study, verdict="shedding", latency_p99_s=np.nan)
    first = few.summary["seed"] == few.summary["seed"].min()
    much = few.summary["offered_rps"] == 120
    few.summary.loc[much & first, "answered_share"] = 0.3
    figure = plots.FIGURES["latency"](few)
    p50, p99 = figure.axes[2], figure.axes[6]
    assert {text.get_text() for text in p50.texts} == {text.get_text() for text in p99.texts} == {"23 to 30%"}
    assert len(p50.texts) == len(p99.texts) == 4  # a text a line


def test_where_the_share_answered_is_empty_it_follows_from_the_counts(study):
    failing = _overloaded(study)
    old = failing.summary.assign(answered_share=np.nan, completed=5, requests=20)
    figure = plots.FIGURES["throughput"](Study("three", old, study.folder))
    assert {text.get_text() for text in figure.axes[0].texts} == {"25%"}


def test_overload_shows_goodput_answers_and_refusals_against_what_was_offered(study):
    shed = _overloaded(study, verdict="shedding", rejected=150, goodput_rps=40.0, throughput_rps=70.0)
    figure = plots.FIGURES["overload"](shed)
    assert [axes.get_title() for axes in figure.axes] == ["baseline", "batched, max_batch_size 32", "scaled"]
    first = figure.axes[0]
    assert set(_marks(first, "goodput_rps, not valid")) == {(120.0, 40.0)}
    assert set(_marks(first, "throughput_rps, not valid")) == {(120.0, 70.0)}
    assert set(_marks(first, "rejected_rps, not valid")) == {(120.0, 50.0)}  # 150 in 3 s
    assert {x for x, _ in _marks(first, "rejected_rps, valid")} == {10.0, 40.0}
    assert {x for x, _ in _marks(first, "due_rps")} == {10.0, 40.0, 120.0}
    assert "hollow: not valid (shedding); %: share answered" in _legend(figure)


def test_overload_is_drawn_of_a_failing_point_with_its_share_and_of_no_calm_study(study):
    figure = plots.FIGURES["overload"](_overloaded(study))
    assert {text.get_text() for text in figure.axes[0].texts} == {"23%"}
    assert plots.FIGURES["overload"](Study("three", study.summary.assign(verdict="valid"), study.folder)) is None


def test_a_point_that_drew_no_request_is_nowhere(study):
    summary = study.summary.assign(verdict="valid")
    summary.loc[summary["offered_rps"] == 10, ["requests", "latency_p95_s", "throughput_rps"]] = [0, np.nan, 0.0]
    figure = plots.FIGURES["throughput"](Study("three", summary, study.folder))
    assert not _marks(figure.axes[0], "no value")
    assert {x for x, _ in _marks(figure.axes[0], "valid")} == {40.0, 120.0}


def test_arrival_specs_are_titles_that_read():
    told = ["poisson", "gamma:cv=3", "on_off:on_s=1,off_s=3", "trace:path=traces/azure.csv"]
    assert [arrivals_title(spec) for spec in told] == [
        "Poisson arrivals",
        "Gamma arrivals, cv 3",
        "On-off arrivals, on_s 1, off_s 3",
        "Trace arrivals, azure.csv",
    ]


def test_users_shows_the_closed_loop_alone_and_says_it_is_blind(study):
    figure = plots.FIGURES["users"](study)
    throughput, latency = figure.axes
    assert {x for x, _ in _marks(throughput, "valid") + _marks(throughput, "not valid")} == {2.0, 8.0}
    assert latency.get_xlabel() == "concurrency (users)"
    rows = study.summary.query("concurrency == 8 and design == 'baseline'")
    assert {(8.0, y) for y in rows["latency_p95_s"]} < set(_marks(latency, "valid"))
    assert "a service that stalls is asked less" in _texts(figure).replace("\n", " ")


@pytest.mark.slow
def test_closed_loops_stay_out_of_every_other_figure(study):
    for name in ("throughput", "stages"):
        without = Study(study.name, study.summary[study.summary["arrival"] != "closed"], study.folder)
        one, other = (plots.rendered(plots.FIGURES[name](each), "svg") for each in (study, without))
        assert one == other


def test_one_seed_has_its_interval_within_the_run_and_several_their_range(tmp_path):
    alone = plots.load_study(write_study(tmp_path / "it", designs={"mine": [{}]}, arrivals=("ideal",), rates=(5, 10)))
    figure = plots.FIGURES["latency"](alone)
    p95 = figure.axes[2]
    p95_s = alone.summary["latency_p95_s"].tolist()
    (bars,) = p95.collections
    assert [segment[:, 1].tolist() for segment in bars.get_segments()] == [
        pytest.approx([0.9 * value, 1.2 * value]) for value in p95_s
    ]
    assert not p95.figure.axes[1].collections[0].get_segments()
    assert "95% interval within the run" in _legend(figure)
    saturated = Study("it", alone.summary.assign(verdict="saturated"), alone.folder)
    assert "95% interval" not in _legend(plots.FIGURES["latency"](saturated))


def test_simulated_points_are_a_line_of_their_own_in_the_colour_of_the_measured(tmp_path):
    kinds = [write_study(tmp_path / kind, designs={"batched": [{}]}, source=kind) for kind in ("measured", "simulated")]
    measured, simulated = map(plots.load_study, kinds)
    both = Study("both", pd.concat([measured.summary, simulated.summary]), tmp_path)
    one, other = lines(both)
    assert [one.label, other.label] == ["batched", "batched, simulated"]
    assert one.colour == other.colour
    assert one.dash != other.dash
    assert len(one.points) == len(other.points) == 6
    assert "Measured on" in _texts(plots.FIGURES["latency"](both))
    assert "Simulated from measurements on" in _texts(plots.FIGURES["latency"](simulated))


def test_contaminated_points_are_marked_like_any_that_is_not_valid(study):
    summary = study.summary.assign(verdict="contaminated")
    assert "not valid (contaminated)" in _legend(plots.FIGURES["throughput"](Study("three", summary, study.folder)))


def test_batches_has_a_line_for_each_limit_and_none_for_a_design_without(study):
    figure = plots.FIGURES["batches"](study)
    assert [part.split(" | ")[0] for part in _legend(figure).split(" | ")][:3] == [
        "batched, max_batch_size 8",
        "batched, max_batch_size 32",
        "scaled",
    ]
    assert len(figure.axes) == 2 * 3


def test_colour_of_a_design_does_not_depend_on_the_others(study, tmp_path):
    alone = plots.load_study(write_study(tmp_path / "it", designs={"scaled": [{}]}, rates=(10,)))
    assert [to_hex(line.colour) for line in one_each(alone)] == ["#009e73"]
    assert [to_hex(line.colour) for line in one_each(study)] == ["#0072b2", "#d55e00", "#009e73"]


def test_points_of_different_machines_are_never_joined(tmp_path):
    parts = [write_study(tmp_path / name, designs={"mine": [{}]}, hardware=name) for name in ("one", "other")]
    summary = pd.concat([plots.load_study(part).summary for part in parts])
    both = Study("both", summary, tmp_path)
    assert [line.label for line in lines(both)] == ["mine, one", "mine, other"]
    assert "one and on other" in _texts(plots.FIGURES["latency"](both))


@pytest.mark.parametrize("column", ["hostname", "code"])
def test_points_of_different_nodes_or_code_are_never_joined(study, column):
    summary = study.summary.assign(**{column: ["one", "other"] * (len(study.summary) // 2)})
    found = lines(replace(study, summary=summary))
    assert len(found) == 2 * len(lines(study))
    assert all(line.points[column].nunique() == 1 for line in found)


def test_many_settings_show_the_largest_and_the_caption_says_so(tmp_path):
    many = {"batched": [{"max_batch_size": size} for size in (1, 2, 4, 8, 16, 32, 64, 128, 256)]}
    study = plots.load_study(write_study(tmp_path / "it", designs=many, arrivals=("ideal",), rates=(10,)))
    figure = plots.FIGURES["latency"](study)
    assert "max_batch_size 256" in _legend(figure)
    assert "Of several settings, shown: batched, max_batch_size 256." in _texts(figure).replace("\n", " ")


def test_runs_are_never_joined_and_keep_what_has_no_value():
    rows = pd.DataFrame(
        {
            "offered_rps": [10.0, 10.0, 20.0, 30.0],
            "seed": [2, 1, 1, 1],
            "latency_mean_s": [1.0, 3.0, np.nan, 4.0],
            "latency_mean_low_s": [0.5, 2.5, np.nan, 3.5],
            "latency_mean_high_s": [1.5, 3.5, np.nan, 4.5],
            "verdict": ["valid", "saturated", "failed", "valid"],
            "requests": 10,
            "completed": [10, 9, 0, 10],
            "answered_share": np.nan,
        }
    )
    table = runs(rows, "latency_mean_s")
    assert table["load"].tolist() == [10.0, 10.0, 20.0, 30.0]
    assert table["value"].tolist()[:2] == [3.0, 1.0]
    assert np.isnan(table["value"][2])
    assert table["low"].dropna().tolist() == [3.5]  # two runs at 10/s show their spread
    assert table["answered_share"].tolist() == [0.9, 1.0, 0.0, 1.0]


def test_stage_shares_leave_what_no_stage_accounts_for_as_rest():
    stages = {"queue_s": [0.1, np.nan], "embed_s": [0.2, np.nan], "retrieve_s": [0.0, np.nan]}
    rates = {"offered_rps": [1.0, 2.0], "latency_mean_s": [1.0, 2.0]}
    points = pd.DataFrame({**rates, **stages, "generate_s": [0.3, np.nan]})
    assert shares(points)["rest"].tolist() == pytest.approx([0.4, 2.0])


def test_slower_counts_requests_without_an_answer_as_slower_than_any():
    requests = pd.DataFrame({"status": ["ok", "timeout", "ok", "ok"], "latency_s": [0.3, 9.0, 0.1, 0.2]})
    latency_s, share = slower(requests)
    assert latency_s.tolist() == [0.1, 0.2, 0.3]
    assert share.tolist() == [0.75, 0.5, 0.25]


def test_common_rates_are_the_highest_all_carried_and_the_highest_offered_to_all():
    text = "design,offered_rps,verdict\na,10,valid\nb,10,valid\na,20,saturated\nb,20,valid\nb,40,valid\n"
    assert common_rates(pd.read_csv(io.StringIO(text))) == [10.0, 20.0]


def test_in_flight_averages_over_slices():
    requests = pd.DataFrame({"due_s": [0.0, 0.0, 0.5, 0.75], "done_s": [1.0, 0.25, 1.0, np.nan]})
    means, edges = in_flight(requests)
    assert len(edges) == len(means) + 1
    assert [means[0], means[len(means) // 2 - 1], means[-1]] == pytest.approx([2, 1, 3])


def decided(t_s, size, target, reason):
    return Decision(t_s, size, 0, 9, 0.1 * t_s, 20.0, target, reason)


@pytest.fixture
def stepping(tmp_path):
    """A fleet under Poisson load and under one that steps, which told its decisions in the second."""
    load = {"arrivals": ("poisson", "step:up=0.5,down=0.9"), "rates": (40,), "duration_s": 4.0}
    folder = write_study(tmp_path / "it", designs={"scaled": [{}]}, **load)
    told = [decided(0.5, 1, 1, "hold"), decided(2.5, 1, 3, "queue wait"), decided(3.5, 3, 2, "outstanding per replica")]
    (point,) = folder.glob("scaled-step*")
    (point / "scaling.csv").write_text(DECISIONS.text(told))
    return folder


def test_decisions_are_marked_at_the_size_they_asked_for_with_their_reason(stepping):
    figure = plots.FIGURES["replicas"](plots.load_study(stepping))
    top, _, bottom = figure.axes
    assert _marks(top, "up: queue wait") == [(2.5, 3.0)]
    assert _marks(top, "down: outstanding per replica") == [(3.5, 2.0)]
    assert bottom.get_ylabel() == "queue_wait_p95_s\n(seconds)"
    assert {x for x, _ in _marks(top, "step up")} == {2.0}
    assert _legend(figure).endswith("step up | up: queue wait | down: outstanding per replica")
    assert "Step arrivals" in _texts(figure)


def test_the_queue_wait_is_of_this_point_and_never_of_the_one_before(stepping):
    """The autoscaler saw a wait of 99 s, left by the load before; no answer of this point waited a second."""
    (point,) = stepping.glob("scaled-step*")
    old = [Decision(t_s, 1, 0, 9, 99.0, 20.0, 1, "hold") for t_s in (0.5, 2.5)]
    (point / "scaling.csv").write_text(DECISIONS.text(old))
    study = plots.load_study(stepping)
    drawn = [wait_s for _, wait_s in _marks(plots.FIGURES["replicas"](study).axes[2], "queue wait")]
    assert len(drawn) == 80
    assert 0 < np.nanmax(drawn) <= study.requests(point.name)["queue_s"].max() < 1


def test_the_queue_wait_is_the_p95_of_the_answers_of_the_seconds_before():
    requests = pd.DataFrame({"done_s": [1.0, 2.0, 9.0, np.nan, 10.0], "queue_s": [0.5, 0.1, 0.2, 7.0, 0.3]})
    moments, waits = queue_wait_p95(requests)
    at = dict(zip(moments.tolist(), waits.tolist(), strict=True))
    assert np.isnan(at[0.875])
    assert [at[1.0], at[5.5], at[6.5], at[9.0], at[10.0]] == [0.5, 0.5, 0.1, 0.2, 0.3]
    assert np.isnan(at[7.5])


def test_without_rows_the_queue_wait_is_what_the_autoscaler_saw_of_this_point(stepping):
    (point,) = stepping.glob("scaled-step*")
    (point / "requests.csv").unlink()
    seen = [Decision(0.5, 1, 0, 9, None, None, 1, "hold"), Decision(3.5, 1, 0, 9, 0.35, 20.0, 1, "hold")]
    (point / "scaling.csv").write_text(DECISIONS.text(seen))
    figure = plots.FIGURES["replicas"](plots.load_study(stepping))
    assert [axes.get_ylabel() for axes in figure.axes] == ["replicas\n(processes)", "queue_wait_p95_s\n(seconds)"]
    assert [wait_s for _, wait_s in _marks(figure.axes[1], "queue wait") if not np.isnan(wait_s)] == [0.35]


def test_without_decisions_and_rows_there_are_only_replicas(stepping):
    (point,) = stepping.glob("scaled-step*")
    (point / "scaling.csv").unlink()
    (point / "requests.csv").unlink()
    figure = plots.FIGURES["replicas"](plots.load_study(stepping))
    assert len(figure.axes) == 1
    assert "up:" not in _legend(figure)


def test_rare_reasons_share_a_mark(stepping):
    (point,) = stepping.glob("scaled-step*")
    told = [decided(float(i), 1, 2, f"reason {min(i, 9) if i > 5 else 0}") for i in range(10)]
    (point / "scaling.csv").write_text(DECISIONS.text(told))
    legend = _legend(plots.FIGURES["replicas"](plots.load_study(stepping)))
    assert legend.count("up: ") == 4
    assert "up: reason 0" in legend
    assert "up: another reason" in legend


def test_starting_replicas_are_no_change_of_size():
    table = pd.DataFrame({"ready": [1, 1, 2], "starting": [1, 0, 1], "target": [2, 2, 1], "reason": ["a", "b", "c"]})
    assert changes(table)[["reason", "way"]].to_numpy().tolist() == [["b", "up"], ["c", "down"]]


def test_figures_leave_matplotlib_as_it_was(study):
    before = dict(mpl.rcParams)
    plots.rendered(plots.FIGURES["throughput"](study), "png")
    assert dict(mpl.rcParams) == before


@pytest.mark.slow
def test_save_all_writes_png_svg_and_numbers_and_removes_what_the_study_no_longer_has(tmp_path):
    folder = write_study(tmp_path / "it", designs={"mine": [{}]}, arrivals=("ideal",), rates=(20,), duration_s=1)
    (folder / "figures").mkdir()
    for old in ("replicas.png", "replicas.drawn.csv"):
        (folder / "figures" / old).write_bytes(b"old")
    written = plots.save_all(folder)
    assert {path.name for path in (folder / "figures").iterdir()} == {path.name for path in written}
    names = ("latency", "throughput", "stages", "distribution")
    assert {path.name for path in written} == {f"{n}.{kind}" for n in names for kind in ("png", "svg", "drawn.csv")}


def test_study_is_found_from_here_or_from_the_repository(tmp_path, monkeypatch):
    folder = write_study(tmp_path / "results" / "mine", designs={"mine": [{}]}, rates=(10,))
    monkeypatch.chdir(tmp_path)
    assert plots.load_study("results/mine").folder == folder
    monkeypatch.setattr("ragbench.results.folder.CHECKOUT", tmp_path)
    monkeypatch.chdir(folder)
    assert locate(Path("results/mine")) == locate(Path()) == folder
    with pytest.raises(FileNotFoundError, match=r"results/none: looked for .* Studies in results/: mine;"):
        plots.load_study("results/none")
