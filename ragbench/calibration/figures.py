"""A calibration as pictures: how late sends left, queues beside theory, a stall in both loops. Computes nothing."""

from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ragbench.calibration import queues, stall
from ragbench.calibration.queues import Cell
from ragbench.calibration.rates import clients
from ragbench.calibration.run import Calibration
from ragbench.plots import keep
from ragbench.plots.style import GREY, RC, log_axis, page, rate_axis
from ragbench.statistics.verdicts import LATE_S

_COLOURS = ("#0072b2", "#d55e00", "#009e73")
_QUANTILES = {"p50": ":", "p95": "--", "p99": "-"}
_SEEN = ("p50", "p95", "p99", "max")


def rates(found: Calibration) -> Figure:
    """Send lag against the rate asked for, a colour per number of client processes; hollow where not clean."""
    figure, ((axes,),) = page(1, 1, panel_in=(6.4, 3.0))
    for colour, (processes, sent) in zip(_COLOURS, found.sent.items(), strict=False):
        for quantile, dash in _QUANTILES.items():
            asked = [one.asked_rps for one in sent]
            lag_s = [getattr(one, f"send_lag_{quantile}_s") for one in sent]
            label = f"{quantile}, {clients(processes)}"
            axes.plot(asked, lag_s, dash, color=colour, label=label)
            for one, value in zip(sent, lag_s, strict=True):
                fill = colour if one.is_clean else "white"
                axes.plot(one.asked_rps, value, "o", color=colour, markerfacecolor=fill, markersize=3.5)
    axes.axhline(LATE_S, color=GREY, linewidth=0.9, label=f"the {LATE_S * 1e3:g} ms that p95 may have")
    rate_axis(axes, [one.asked_rps for sent in found.sent.values() for one in sent])
    log_axis(axes)
    axes.set(xlabel="asked_rps (requests per second)", ylabel="send_lag (seconds)")
    axes.set_title("How late requests left, even spacing; hollow: not valid", loc="left")
    figure.legend(loc="outside right center")
    return figure


def known_queues(found: Calibration) -> Figure:
    """Mean and 95th percentile of each queue: measured with its interval, theory, and the exact solution."""
    figure, (row,) = page(1, 2, panel_in=(3.4, 3.0))
    for axes, figure_of in zip(row, ("mean", "p95"), strict=True):
        for place, cell in enumerate(found.cells):
            _draw_cell(axes, place, cell, figure_of)
        names = [f"{cell.queue}\n{cell.utilisation:g}" for cell in found.cells]
        axes.set_xticks(range(len(names)), names)
        axes.set_ylim(bottom=0)
        axes.set(xlabel="queue and its utilisation", ylabel=f"latency_{figure_of}_s (seconds)")
    handles, labels = row[0].get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    figure.legend(once.values(), once.keys(), loc="outside upper left", ncols=3)
    figure.supxlabel(
        f"Service {queues.MEAN_S * 1e3:g} ms. Each draw is the one, of {queues.SEEDS} seeds, whose exact solution\n"
        "lies nearest theory: what is left between theory and measurement is the harness's doing.",
        fontsize=7,
        color=GREY,
        x=0.01,
        ha="left",
    )
    return figure


def _draw_cell(axes: Axes, place: int, cell: Cell, figure_of: str) -> None:
    value, theory, exact = (getattr(cell, f"{figure_of}{kind}_s") for kind in ("", "_theory", "_exact"))
    low, high = (getattr(cell, f"{figure_of}_{end}_s") for end in ("low", "high"))
    axes.plot([place - 0.3, place + 0.3], [theory, theory], color=_COLOURS[1], label="theory", zorder=2)
    axes.plot(place + 0.15, exact, "x", color=GREY, label="the same draw, solved exactly", zorder=3)
    if low is not None and high is not None:
        axes.vlines(place, low, high, color=_COLOURS[0], linewidth=1)
    axes.plot(place, value, "o", color=_COLOURS[0], markersize=4, label="measured, 95% interval", zorder=3)


def stalled(found: Calibration) -> Figure:
    """What both loops report of one stall; a dash where arithmetic puts the open loop's p99."""
    figure, ((axes,),) = page(1, 1, panel_in=(6.0, 2.8))
    places = np.arange(len(_SEEN))
    for colour, seen, aside in zip(_COLOURS, found.seen, (-0.06, 0.06), strict=False):
        seen_s = [getattr(seen, f"latency_{name}_s") for name in _SEEN]
        axes.plot(places + aside, seen_s, "o", color=colour, label=seen.loop)
        if seen.expected_p99_s is not None:
            at = _SEEN.index("p99")
            axes.plot([at - 0.2, at + 0.2], [seen.expected_p99_s] * 2, color=GREY, label="p99 by arithmetic", zorder=1)
    axes.set_xticks(places, _SEEN)
    axes.set_xlim(-0.5, len(_SEEN) - 0.5)
    log_axis(axes)
    axes.set(xlabel="of all latencies in the steady window", ylabel="latency (seconds)")
    axes.set_title(f"A server that stalls for {stall.STALL_S:g} s, in open and in closed loop", loc="left")
    figure.legend(loc="outside right center")
    return figure


FIGURES: dict[str, Callable[[Calibration], Figure]] = {"rates": rates, "queues": known_queues, "stall": stalled}


def save(found: Calibration, folder: Path) -> list[Path]:
    """Draw each of FIGURES into `folder`, as `keep` does."""
    files: list[Path] = []
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in FIGURES.items():
        with mpl.rc_context(RC):
            files += keep(draw(found), folder, name)
    return files
