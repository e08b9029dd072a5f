"""What the notebooks of comparisons and capacities show: a figure just drawn, sentences, cells. Computes nothing."""

from IPython.display import HTML, Image, Markdown
from matplotlib.figure import Figure

from ragbench import wording
from ragbench.compare import Comparison, frame
from ragbench.crossover import crossovers
from ragbench.notebook import PIXELS_AN_INCH, as_list, table
from ragbench.plots import rendered

CELL_COLUMNS = (
    *("b", "a", "arrival", "offered_rps", "concurrency", "seeds", "metric", "a_value", "b_value"),
    *("difference_percent", "low_percent", "high_percent", "low_alone_percent", "high_alone_percent", "method"),
)


def picture(figure: Figure | None, name: str) -> Image | Markdown:
    """A figure as a picture, or a line saying that there is nothing to show."""
    if figure is None:
        return Markdown(f"*There is nothing to show for `{name}`.*")
    shown = Image(rendered(figure, "png"), format="png", alt=f"Figure: {name}")
    shown.width = round(figure.get_size_inches()[0] * PIXELS_AN_INCH)
    return shown


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
    told = frame(comparison).reindex(columns=[*CELL_COLUMNS, "not_compared"])
    return table(told.dropna(axis="columns", how="all"))
