"""The figures of a retrieval study, one function each. A new one is a function and a line in FIGURES; none measures."""

from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from ragbench.plots import save
from ragbench.results.paths import RetrievalPaths
from ragbench.retrieval.plots.elbow import elbow
from ragbench.retrieval.plots.exact import gpu, growth, speedup
from ragbench.retrieval.plots.recall import memory, recall
from ragbench.retrieval.plots.roofline import roofline
from ragbench.retrieval.results import Results

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
