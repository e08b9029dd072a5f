"""The figures of a retrieval study, one function each. A new one is a function and a line in FIGURES; none measures."""

from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from ragbench.paths import RetrievalPaths
from ragbench.plots import save
from ragbench.plots.retrieval.elbow import elbow
from ragbench.plots.retrieval.growth import growth
from ragbench.plots.retrieval.memory import memory
from ragbench.plots.retrieval.recall import recall
from ragbench.plots.retrieval.roofline import roofline
from ragbench.plots.retrieval.speedup import gpu, speedup
from ragbench.retrieval.results import Results

__all__ = ["FIGURES", "save_all"]

# None from a figure's function: this study has nothing to show for it.
FIGURES: dict[str, Callable[[Results], Figure | None]] = {
    "speedup": speedup,
    "gpu": gpu,
    "growth": growth,
    "recall": recall,
    "memory": memory,
    "elbow": elbow,
    "roofline": roofline,
}


def save_all(results: Results) -> list[Path]:
    """Write every figure the study has into its `figures/`, as `save` does; returns the files."""
    return save(results, FIGURES, RetrievalPaths(results.folder).figures)
