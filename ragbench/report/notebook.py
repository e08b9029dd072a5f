"""Helpers of the notebooks: check their parameters, show a picture, a table, a line of text. Draws nothing."""

import ast
import math
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

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
    for place, cell in enumerate(cells):
        if cell.startswith(INJECTED):
            known = {name for before in cells[:place] for name in _assigned(before)}
            unknown = sorted(set(_assigned(cell)) - known)
            if unknown:
                takes = ", ".join(sorted(known))
                raise ValueError(f"unknown parameter {', '.join(unknown)}; this notebook takes {takes}")


def _assigned(cell: str) -> list[str]:
    """Names a cell assigns at its top level; annotated ones too. Cells that are not Python assign none."""
    try:
        statements = ast.parse(cell).body
    except SyntaxError:
        return []
    targets = [target for node in statements if isinstance(node, ast.Assign) for target in node.targets]
    targets += [node.target for node in statements if isinstance(node, ast.AnnAssign)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


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
    for path in files:
        if path.name == f"{name}.png":
            png = path.read_bytes()
            width_px = int.from_bytes(png[16:20], "big")
            return Image(png, format="png", alt=f"Figure: {name}", width=round(width_px * PIXELS_AN_INCH / plots.DPI))
    return Markdown(f"*This study has nothing to show for `{name}`.*")


def show_others(files: Sequence[Path], *shown: str) -> None:
    """The figures that an article does not show, such as a new one in FIGURES, under a heading of their own."""
    others = [name for name in plots.FIGURES if name not in shown]
    if others:
        display(Markdown("## Other figures"), *(show(files, name) for name in others))


def table(frame: pd.DataFrame) -> HTML:
    """A table with three significant digits and blanks for what is absent."""
    return HTML(frame.map(_cell).to_html(index=False, border=0))


def verdicts() -> Markdown:
    """The rules by which each point was judged."""
    return Markdown(rules_table())


def _cell(value: object) -> str:
    if value is None or value is pd.NA:
        return ""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return plain(str(value))


def picture(figure: Figure | None, name: str) -> Image | Markdown:
    """A figure as a picture, or a line saying that there is nothing to show."""
    if figure is None:
        return Markdown(f"*There is nothing to show for `{name}`.*")
    width = round(figure.get_size_inches()[0] * PIXELS_AN_INCH)
    return Image(plots.rendered(figure, "png"), format="png", alt=f"Figure: {name}", width=width)
