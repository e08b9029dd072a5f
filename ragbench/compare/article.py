"""What the notebooks of comparisons and capacities show: a figure just drawn, sentences, cells. Computes nothing."""

from IPython.display import HTML, Markdown

from ragbench.compare import wording
from ragbench.compare.cells import Comparison, frame
from ragbench.compare.crossover import crossovers
from ragbench.report.notebook import as_list, table

CELL_COLUMNS = (
    *("b", "a", "arrival", "offered_rps", "concurrency", "seeds", "metric", "a_value", "b_value"),
    *("difference_percent", "low_percent", "high_percent", "low_alone_percent", "high_alone_percent", "method"),
)


def findings(comparison: Comparison) -> Markdown:
    """What is shown and what is not, a line each."""
    return as_list(wording.sentences(comparison))


def footnotes(comparison: Comparison) -> Markdown:
    """How the intervals were made."""
    return as_list(wording.footnotes(comparison))


def crossings(comparison: Comparison) -> Markdown:
    """Where the faster side becomes the slower one."""
    found = [str(each) for each in crossovers(comparison)]
    return as_list(found or ["In no latency does the difference change sign once as the rate grows."])


def cells(comparison: Comparison) -> HTML:
    """Every cell, compared or not."""
    shown = frame(comparison).reindex(columns=[*CELL_COLUMNS, "not_compared"])
    return table(shown.dropna(axis="columns", how="all"))
