"""How near each cell comes to what its device can do: the roofline.

Source: Williams, Waterman and Patterson, Roofline, CACM 52(4), 2009.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ragbench.plots.style import GREY, log_axis, page, styled
from ragbench.retrieval.plots.looks import contenders, finish, handles_of, mark
from ragbench.retrieval.results import Results

_DASHES = ("-", "--", ":", "-.")


@styled
def roofline(results: Results) -> Figure | None:
    """GFLOP/s attained against FLOP per byte, a panel per device under its roofs; None without roofs."""
    rows = pd.concat([results.searches, results.trainings])
    rows = rows[(rows["flops"] > 0) & (rows["bytes_moved"] > 0)].reset_index(drop=True)
    devices = [name for name in dict.fromkeys(results.roofs["device"]) if (rows["device"] == name).any()]
    if not devices:
        return None
    rows = rows.assign(
        intensity=rows["flops"] / rows["bytes_moved"], gflop_per_s=rows["flops"] / rows["search_s"] / 1e9
    )
    lines = contenders(rows)
    roofs = dict(list(results.roofs.groupby("device")))
    labels: dict[str, Any] = {
        "titles": [f"{device}: {roofs[device]['name'].iloc[0]}" for device in devices],
        "xlabel": "flops / bytes_moved (FLOP/B)",
        "ylabels": ["attained (GFLOP/s)"],
    }
    figure, grid = page(1, len(devices), panel_in=(max(3.4, 5.6 / len(devices)), 3.0), **labels)
    for axes, device in zip(grid[0], devices, strict=True):
        own = rows[rows["device"] == device]
        for line in lines:
            looks = {"linestyle": "", "markersize": 3.5, "markerfacecolor": "none", "alpha": 0.8}
            line.having(own).draw(axes, "intensity", "gflop_per_s", **looks)
        _draw_roofs(axes, roofs[device], own["intensity"])
        log_axis(axes, "x")
        log_axis(axes, "y")
    dtypes = list(dict.fromkeys(results.roofs["dtype"]))
    marks = [mark("", f"roof, {dtype}", linestyle=_DASHES[n % 4]) for n, dtype in enumerate(dtypes)]
    note = (
        "The slope is a large copy's bytes/s, the flat part a matrix product's FLOP/s; vectors that fit in a cache may "
        "lie above the slope, and l1 has no matrix product"
    )
    return finish(figure, results, "How near to the roofline", handles=[*handles_of(lines), *marks], notes=[note])


def _draw_roofs(axes: Axes, roofs: pd.DataFrame, intensity: pd.Series) -> None:
    """Slope and flat part, from half the least intensity to twice the largest, or four times where the two meet."""
    for number, roof in enumerate(roofs.itertuples()):
        meet = roof.matmul_gflop_per_s / roof.copy_gb_per_s
        ends = (intensity.min() / 2, max(intensity.max() * 2, meet * 4))
        x = np.array([ends[0], meet, ends[1]])
        y = np.minimum(roof.matmul_gflop_per_s, roof.copy_gb_per_s * x)
        axes.plot(x, y, color=GREY, linewidth=1.2, linestyle=_DASHES[number % 4], zorder=1, gid="roof")
