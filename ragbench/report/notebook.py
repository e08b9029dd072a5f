"""Helpers of the notebooks: check their parameters, show a picture, a table, a line of text. Draws nothing."""

import ast
import math
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from IPython import get_ipython
from IPython.display import HTML, Image, Markdown, display
from matplotlib.figure import Figure

from ragbench import plots
from ragbench.report import tables
from ragbench.results.folder import Study
from ragbench.statistics.verdicts import rules_table
from ragbench.terminal import plain

INJECTED = "# Parameters"
PIXELS_AN_INCH = 100
_MARKUP = re.compile(r"[\\`*_\[\]<>&$#|~]")


def check_parameters() -> None:
    """Refuse unknown parameters of the notebook this is called in, by the cells it has run so far."""
    shell = get_ipython()
    refuse_unknown(shell.user_ns["In"] if shell else [])


def refuse_unknown(cells: Sequence[str]) -> None:
    """Raise ValueError if papermill was given a parameter that the notebook, whose `cells` these are, does not have.

    Papermill only warns of an unknown parameter, so that a misspelt `-p studdy results/mine` would report on the
    default study. It writes its parameters into a cell that starts with `# Parameters`, after the cell of defaults: a
    name assigned there and nowhere before is unknown.
    """
    known: set[str] = set()
    for cell in cells:
        assigned = _assigned(cell)
        if cell.startswith(INJECTED) and (unknown := assigned - known):
            takes = ", ".join(sorted(known))
            raise ValueError(f"unknown parameter {', '.join(sorted(unknown))}; this notebook takes {takes}")
        known |= assigned


def _assigned(cell: str) -> set[str]:
    """Names that a cell assigns. Cells that are not Python assign none."""
    try:
        nodes = list(ast.walk(ast.parse(cell)))
    except SyntaxError:
        return set()
    return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def about(study: Study) -> Markdown:
    """The study in two lines: its title, its machine, its points and their verdicts."""
    machines = ", ".join(map(as_words, study.hardware))
    named = f"**{as_words(study.title)}** ({as_words(study.name)}), on {machines}."
    return Markdown(f"{named}\n\n{as_words(tables.summarised(study))}")


def as_list(lines: Iterable[str]) -> Markdown:
    """Lines as a list; nothing in them is markup."""
    return Markdown("\n".join(f"- {as_words(line)}" for line in lines))


def as_words(text: str) -> str:
    """A text for Markdown in which nothing is markup."""
    return _MARKUP.sub(lambda found: f"&#{ord(found.group())};", " ".join(plain(text).split()))


def show(files: Sequence[Path], name: str, *, known: Collection[str] | None = None) -> Image | Markdown:
    """The figure `name` among the files just written, or a line saying that this study has none.

    `known`: the figures there can be; of None, those of a sweep.
    """
    names = plots.FIGURES if known is None else known
    if name not in names:
        raise ValueError(f"unknown figure {name!r}; known: {', '.join(names)}")
    return _shown(next((path.read_bytes() for path in files if path.name == f"{name}.png"), None), name)


def picture(figure: Figure | None, name: str) -> Image | Markdown:
    """A figure as a picture, or a line saying that there is nothing to show."""
    return _shown(None if figure is None else plots.rendered(figure, "png"), name)


def _shown(png: bytes | None, name: str) -> Image | Markdown:
    if png is None:
        return Markdown(f"*This study has nothing to show for `{name}`.*")
    width_px = int.from_bytes(png[16:20], "big")
    return Image(png, format="png", alt=f"Figure: {name}", width=round(width_px * PIXELS_AN_INCH / plots.DPI))


def show_others(files: Sequence[Path], *shown: str) -> None:
    """The figures that an article does not show, such as a new one in FIGURES, under a heading of their own."""
    others = [name for name in plots.FIGURES if name not in shown]
    if others:
        display(Markdown("## Other figures"), *(show(files, name) for name in others))


def table(rows: "pd.DataFrame | Sequence[Any]") -> HTML:
    """A frame or rows of one dataclass as a table, with three significant digits and blanks for what is absent."""
    return HTML(pd.DataFrame(rows).map(_cell).to_html(index=False, border=0))


def verdicts() -> Markdown:
    """The rules by which each point was judged."""
    return Markdown(rules_table())


def _cell(value: object) -> str:
    if value is None or value is pd.NA:
        return ""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return plain(str(value))
