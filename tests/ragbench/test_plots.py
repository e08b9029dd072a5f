import io
import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from ragbench import plots
from ragbench.plots.distribution import common_rates, slower
from ragbench.plots.lines import lines, one_each, repeats
from ragbench.plots.replicas import changes, in_flight
from ragbench.plots.stages import shares
from ragbench.plots.study import Study, locate
from ragbench.plots.style import arrivals_told
from ragbench.records import Decision, scaling_csv
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
    """Two studies of one name that differ in what a batch costs."""
    two = {"batched": [{"max_batch_size": 4}], "scaled": [{"max_batch_size": 8}]}
    places = [(tmp_path_factory.mktemp("pair") / "it", base_s) for base_s in (0.02, 0.05)]
    loads = {"rates": (5, 80), "users": (1, 16), "duration_s": 1}
    folders = [write_study(place, designs=two, base_s=base_s, **loads) for place, base_s in places]
    return [plots.load_study(folder) for folder in folders]


@pytest.mark.parametrize("name", plots.FIGURES)
def test_figure_differs_for_other_data(pair, name):
    one, other = (plots.rendered(plots.FIGURES[name](each), "svg") for each in pair)
    assert one != other


def test_figure_is_the_same_file_for_the_same_data(pair):
    assert len({plots.rendered(plots.FIGURES["arrivals"](pair[0]), "svg") for _ in range(2)}) == 1


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
    assert (figures["replicas"] is None) == (not any(v.startswith("scaled") for v in study.summary["design"]))


def test_latency_draws_every_rate_of_every_design_at_its_mean_over_seeds(study):
    figure = plots.FIGURES["latency"](study)
    assert len(figure.axes) == 4 * 2
    p99_poisson = figure.axes[7]
    assert p99_poisson.get_ylabel() == ""
    assert p99_poisson.get_xscale() == p99_poisson.get_yscale() == "log"
    rows = study.summary.query("arrival == 'poisson' and design == 'scaled' and offered_rps == 120")
    expected = rows["latency_p99_s"].sum() / 2
    drawn = _marks(p99_poisson, "valid") + _marks(p99_poisson, "not valid")
    assert len(drawn) == 4 * 3
    assert any(x == 120 and y == pytest.approx(expected) for x, y in drawn)
    assert len(p99_poisson.collections) == 4  # the range over seeds, one set for each line


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
        assert _marks(figure.axes[0], "failed") == [(120.0, edge)]
        assert "failed, no value" in _legend(figure)


def test_throughput_shows_the_line_of_no_loss(study):
    axes = plots.FIGURES["throughput"](study).axes[0]
    (equal,) = [line for line in axes.get_lines() if line.get_gid() == "y = x"]
    assert list(equal.get_xdata()) == list(equal.get_ydata()) == [8.0, 150.0]


def test_arrivals_heads_each_pair_with_its_ratio_and_hollows_what_is_not_valid(study):
    summary = study.summary.assign(verdict="valid", latency_p95_s=0.1)
    summary.loc[summary["arrival"] == "poisson", "latency_p95_s"] = 0.25
    summary.loc[(summary["design"] == "baseline") & (summary["offered_rps"] == 120), "verdict"] = "saturated"
    figure = plots.FIGURES["arrivals"](Study("three", summary, study.folder))
    assert [text.get_text() for text in figure.axes[0].texts] == ["\N{MULTIPLICATION SIGN}2.5"] * 2
    assert len(figure.axes[1].texts) == 3
    assert [len(_marks(axes, "not valid")) for axes in figure.axes] == [2, 0, 0]
    assert [y for _, y in _marks(figure.axes[1], "valid")] == [0.1, 0.25] * 3
    assert figure.axes[0].get_yscale() == "log"
    assert not figure.axes[0].patches


def test_arrival_specs_are_titles_that_read():
    told = ["poisson", "gamma:cv=3", "on_off:on_s=1,off_s=3", "trace:path=traces/azure.csv"]
    assert [arrivals_told(spec) for spec in told] == [
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
    assert any(y == pytest.approx(rows["latency_p95_s"].mean()) for _, y in _marks(latency, "valid"))
    assert "a service that stalls is asked less" in _texts(figure).replace("\n", " ")


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


def test_many_settings_show_the_largest_and_the_caption_says_so(tmp_path):
    many = {"batched": [{"max_batch_size": size} for size in (1, 2, 4, 8, 16, 32, 64, 128, 256)]}
    study = plots.load_study(write_study(tmp_path / "it", designs=many, arrivals=("ideal",), rates=(10,)))
    figure = plots.FIGURES["latency"](study)
    assert "max_batch_size 256" in _legend(figure)
    assert "Of several settings, shown: batched, max_batch_size 256." in _texts(figure).replace("\n", " ")


def test_repeats_are_means_with_their_range_and_keep_failed_rates():
    rows = pd.DataFrame(
        {
            "offered_rps": [10.0, 10.0, 20.0, 20.0],
            "latency_mean_s": [1.0, 3.0, np.nan, np.nan],
            "verdict": ["valid", "valid", "valid", "failed"],
        }
    )
    joined = repeats(rows, "latency_mean_s")
    assert joined.loc[10.0].tolist() == [2.0, 1.0, 3.0, True]
    assert np.isnan(joined.loc[20.0, "mean"])
    assert not joined.loc[20.0, "is_valid"]


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
    (point / "scaling.csv").write_text(scaling_csv(told))
    return folder


def test_decisions_are_marked_at_the_size_they_asked_for_with_their_reason(stepping):
    figure = plots.FIGURES["replicas"](plots.load_study(stepping))
    top, _, bottom = figure.axes
    assert _marks(top, "up: queue wait") == [(2.5, 3.0)]
    assert _marks(top, "down: outstanding per replica") == [(3.5, 2.0)]
    assert _marks(bottom, "queue wait") == [(0.5, 0.05), (2.5, 0.25), (3.5, pytest.approx(0.35))]
    assert bottom.get_ylabel() == "queue_wait_p95_s\n(seconds)"
    assert {x for x, _ in _marks(top, "step up")} == {2.0}
    assert _legend(figure).endswith("step up | up: queue wait | down: outstanding per replica")
    assert "Step arrivals" in _texts(figure)


def test_without_decisions_there_is_no_panel_for_them(stepping):
    (point,) = stepping.glob("scaled-step*")
    (point / "scaling.csv").unlink()
    figure = plots.FIGURES["replicas"](plots.load_study(stepping))
    assert len(figure.axes) == 2
    assert "up:" not in _legend(figure)


def test_rare_reasons_share_a_mark(stepping):
    (point,) = stepping.glob("scaled-step*")
    told = [decided(float(i), 1, 2, f"reason {min(i, 9) if i > 5 else 0}") for i in range(10)]
    (point / "scaling.csv").write_text(scaling_csv(told))
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


def test_save_all_writes_png_and_svg_and_removes_what_the_study_no_longer_has(tmp_path):
    folder = write_study(tmp_path / "it", designs={"mine": [{}]}, arrivals=("ideal",), rates=(20,), duration_s=1)
    (folder / "figures").mkdir()
    (folder / "figures" / "replicas.png").write_bytes(b"old")
    written = plots.save_all(folder)
    assert {path.name for path in (folder / "figures").iterdir()} == {path.name for path in written}
    assert {path.suffix for path in written} == {".png", ".svg"}
    assert {path.stem for path in written} == {"latency", "throughput", "stages", "distribution"}


def test_study_is_found_from_here_or_from_the_repository(tmp_path, monkeypatch):
    folder = write_study(tmp_path / "results" / "mine", designs={"mine": [{}]}, rates=(10,))
    monkeypatch.chdir(tmp_path)
    assert plots.load_study("results/mine").folder == folder
    monkeypatch.setattr("ragbench.plots.study.CHECKOUT", tmp_path)
    monkeypatch.chdir(folder)
    assert locate(Path("results/mine")) == locate(Path()) == folder
    with pytest.raises(FileNotFoundError, match=r"results/none: looked for .* Studies in results/: mine;"):
        plots.load_study("results/none")
