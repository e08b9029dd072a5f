"""The lines of a study: which points belong to a line, and its look in every figure. Draws nothing."""

from dataclasses import dataclass

import pandas as pd
from matplotlib.colors import to_rgb

from ragbench.results.folder import Study
from ragbench.results.metrics import ORIGIN, bound

# Okabe and Ito's colour-blind-safe palette, less its pale yellow, and four more apart in lightness; markers differ too.
DESIGN_COLOURS = {"baseline": "#0072B2", "batched": "#D55E00", "scaled": "#009E73"}
OTHER_COLOURS = ("#CC79A7", "#E69F00", "#56B4E9", "#333333", "#8C510A", "#6A3D9A", "#999999", "#882255")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
DASHES = ("-", "--", ":", "-.", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 3)))
SIMULATED, SIMULATED_DASH = "simulated", (0, (1, 1))
MOST_LINES = 8


@dataclass(frozen=True, slots=True)
class Line:
    """One design with one choice of settings on one machine; `points` has its rows: every arrival, load and seed.

    Measured and simulated points are separate lines of one colour.
    """

    design: str
    label: str
    colour: tuple[float, ...]
    marker: str
    dash: str | tuple[int, tuple[int, ...]]
    width: float
    points: pd.DataFrame
    is_simulated: bool = False

    def at(self, arrival: str, rate: float | None = None) -> pd.DataFrame:
        """The rows of one arrival process, and of one offered rate where given."""
        rows = self.points[self.points["arrival"] == arrival]
        return rows if rate is None else rows[rows["offered_rps"] == rate]


def designs(study: Study) -> list[str]:
    """Designs in the order of every figure: the three of this repository, then the others in order of appearance."""
    names = list(dict.fromkeys(study.summary["design"]))
    return [name for name in DESIGN_COLOURS if name in names] + [name for name in names if name not in DESIGN_COLOURS]


def lines(study: Study) -> list[Line]:
    """Every line of the study, designs in order, each design's settings ascending.

    A design has the same hue, marker and width in every figure. Its largest settings have the full colour and a solid
    line, smaller settings are paler and dashed. Machines and states of the code are told apart like settings: their
    points never share a line.
    """
    table: list[Line] = []
    hues = colours(study)
    for index, design in enumerate(designs(study)):
        rows = study.summary[study.summary["design"] == design]
        varied = [name for name in [*study.settings, *ORIGIN] if rows[name].nunique(dropna=False) > 1]
        choices = _by_settings(design, rows, varied)
        for below, (label, points) in zip(reversed(range(len(choices))), choices, strict=True):
            colour = tint(hues[design], 0.55 * below / max(len(choices) - 1, 1))
            marker, dash = MARKERS[index % len(MARKERS)], DASHES[below % len(DASHES)]
            width = max(2.4 - 0.6 * index, 1.0)  # later designs are thinner, so that none hides one it coincides with
            for source, own in points.groupby(points["source"].fillna("measured")):
                if source == SIMULATED:
                    name, style = f"{label}, simulated", SIMULATED_DASH
                    table.append(Line(design, name, colour, marker, style, 0.9, own, is_simulated=True))
                else:
                    table.append(Line(design, label, colour, marker, dash, width, own))
    return table


def colours(study: Study) -> dict[str, str]:
    """Each design's colour: its own for those of this repository, the others in turn for the rest."""
    others = [name for name in designs(study) if name not in DESIGN_COLOURS]
    return DESIGN_COLOURS | {name: OTHER_COLOURS[n % len(OTHER_COLOURS)] for n, name in enumerate(others)}


def tint(colour: str | tuple[float, ...], share: float) -> tuple[float, ...]:
    """`colour` mixed with `share` of white, 0..1."""
    return tuple(part + (1 - part) * share for part in to_rgb(colour))


def _by_settings(design: str, rows: pd.DataFrame, varied: list[str]) -> list[tuple[str, pd.DataFrame]]:
    if not varied:
        return [(design, rows)]
    groups = rows.groupby(varied, dropna=False, sort=True)
    return [(", ".join([design, *map(_setting, varied, key)]), group) for key, group in groups]


def _setting(name: str, value: object) -> str:
    if name == "hardware":
        return str(value)
    if pd.isna(value):
        return f"{name} unset"
    return f"{name} {value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else f"{name} {value}"


def one_each(study: Study) -> list[Line]:
    """One line per design, machine and code, that of the largest settings: for figures without room for all."""
    last = {(line.design, *map(str, line.points.iloc[0][[*ORIGIN]]), line.is_simulated): line for line in lines(study)}
    return list(last.values())


def readable_lines(study: Study) -> list[Line]:
    """All lines where a reader can tell them apart, else one per design."""
    every = lines(study)
    return every if len(every) <= MOST_LINES else one_each(study)


def left_out(study: Study, shown: list[Line]) -> str:
    """A sentence for the caption that names the settings shown; empty where all are."""
    labels = {line.label for line in shown}
    partly = {line.design for line in lines(study) if line.label not in labels}
    chosen = [line.label for line in shown if line.design in partly]
    return f"Of several settings, shown: {'; '.join(chosen)}." if chosen else ""


def runs(rows: pd.DataFrame, column: str, *, by: str = "offered_rps") -> pd.DataFrame:
    """A row per run of one line, by load and seed: `load`, `seed`, `value`, `verdict`, `answered_share`, `low`, `high`.

    Runs are never averaged: a mean of percentiles is no percentile. `low` and `high` are the interval within a valid
    run; NaN at a load with several runs, whose spread is visible. A run without a value keeps its row; a run that drew
    no request is left out.
    """
    known = rows[rows["requests"] != 0].sort_values([by, "seed"], kind="stable").reset_index(drop=True)
    table = known[["seed", "verdict"]].assign(
        load=known[by].astype(float), value=known[column].astype(float), answered_share=answered_share(known)
    )
    has_interval = (known.groupby(by)["seed"].transform("size") == 1) & (known["verdict"] == "valid")
    for end in ("low", "high"):
        ends = known[bound(column, end)] if bound(column, end) in known else pd.Series(float("nan"), known.index)
        table[end] = ends.astype(float).where(has_interval)
    return table


def answered_share(rows: pd.DataFrame) -> pd.Series:
    """Ok answers over requests scheduled, 0..1: the column, or where that is empty, computed from the counts."""
    return rows["answered_share"].fillna(rows["completed"] / rows["requests"].where(rows["requests"] > 0))
