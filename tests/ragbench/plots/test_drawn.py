"""The numbers that a figure shows, read back from it."""

import numpy as np
from matplotlib.figure import Figure

from ragbench.plots.drawn import MOST_VERTICES, drawn, drawn_csv
from scripts.redraw import difference, read_drawn


def _figure(y=2.0):
    figure = Figure()
    first, second = figure.subplots(1, 2)
    first.set_title("Poisson\narrivals")
    first.plot([1, 2], [y, np.nan], label="batched", gid="valid")
    first.plot([3], [0.25], "x", gid="no value")
    first.vlines([1], [1.5], [2.5])
    first.annotate("23%", (1, y), (4, 3), textcoords="offset points")
    second.bar([0, 1], [10, 20], 0.5, [0, 5], gid="queue_s")
    second.stairs([4, 5], [0, 1, 2])
    second.fill_between([0, 1], [0, 0], [1, 2], gid="ready")
    second.set_visible(True)
    return figure


def _shown(table, kind):
    return [tuple(row) for row in table.loc[table["kind"] == kind, ["panel", "series", "x", "y"]].to_numpy()]


def test_every_kind_of_artist_is_read_back_where_it_was_put():
    table = drawn(_figure())
    (first, gap), cross = _shown(table, "line"), _shown(table, "marks")
    assert first == (1, "batched, valid", 1.0, 2.0)
    assert np.isnan(gap[3])
    assert cross == [(1, "no value", 3.0, 0.25)]
    assert _shown(table, "bars") == [(1, "", 1.0, 1.5), (1, "", 1.0, 2.5)]
    assert _shown(table, "text") == [(1, "23%", 1.0, 2.0)]
    area = _shown(table, "area")
    assert area[:4] == [(2, "queue_s", *xy) for xy in [(-0.25, 0.0), (0.25, 10.0), (0.75, 5.0), (1.25, 25.0)]]
    assert [row[2:] for row in area[4:]] == [(0.0, 4.0), (1.0, 5.0)]
    assert {(1.0, 2.0), (0.0, 0.0)} <= {row[2:] for row in _shown(table, "band")}
    assert set(table["title"]) == {"Poisson arrivals", ""}


def test_written_and_read_it_is_the_same_and_another_figure_is_told_apart(tmp_path):
    (tmp_path / "it.drawn.csv").write_text(drawn_csv(_figure()))
    kept = read_drawn(tmp_path / "it.drawn.csv")
    assert difference(drawn(_figure()), kept) is None
    assert difference(drawn(_figure(2.00001)), kept) is None  # less than what a file keeps
    told = difference(drawn(_figure(2.001)), kept)
    assert told is not None
    assert told.endswith("2 of 19 vertices differ") or "differ" in told
    renamed = _figure()
    renamed.axes[0].get_lines()[0].set_gid("not valid")
    assert "not valid" in (difference(drawn(renamed), kept) or "")
    renamed.axes[0].get_lines()[0].remove()
    assert "vertices, against" in (difference(drawn(renamed), kept) or "")


def test_a_hidden_panel_shows_nothing_and_a_long_curve_keeps_its_ends():
    figure = _figure()
    figure.axes[1].set_visible(False)
    assert set(drawn(figure)["panel"]) == {1}
    long = Figure()
    long.subplots().plot(np.arange(5001), np.arange(5001) * 2)
    table = drawn(long)
    assert len(table) == MOST_VERTICES
    assert table["vertex"].tolist()[::199] == [0, 5000]
    assert (table["y"] == 2 * table["x"]).all()
