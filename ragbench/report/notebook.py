"""What the notebooks call besides the figures: check their parameters, show a picture, a table, a line of text.

Measures nothing and draws nothing.
"""

import ast
import math
import re
from collections.abc import Collection, Sequence
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

    Papermill only warns of an unknown parameter and runs on, so that
    a misspelt `-p studdy results/mine` would report on the default study. It writes what it was given into a cell that
    starts with `# Parameters`, after the cell of defaults: a name assigned there and nowhere before is unknown.
    """
    for place, cell in enumerate(cells):
        if cell.startswith(INJECTED):
            known = {name for before in cells[:place] for name in _assigned(before)}
            unknown = sorted(set(_assigned(cell)) - known)
            if unknown:
                raise ValueError(
                    f"unknown parameter {', '.join(unknown)}; this notebook takes {', '.join(sorted(known))}"
                )


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


def as_list(lines: Sequence[str]) -> Markdown:
    """Lines of others, one under another."""
    return Markdown("\n".join(f"- {as_words(line)}" for line in lines))


def as_words(text: str) -> str:
    """A text of others for Markdown: it is shown as it is, and nothing in it is markup."""
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
            picture = Image(path.read_bytes(), format="png", alt=f"Figure: {name}")
            picture.width = round(_width_px(path.read_bytes()) * PIXELS_AN_INCH / plots.DPI)
            return picture
    return Markdown(f"*This study has nothing to show for `{name}`.*")


def show_others(files: Sequence[Path], *told: str) -> None:
    """The figures an article does not tell about, such as one added to FIGURES since, under a heading of their own."""
    others = [name for name in plots.FIGURES if name not in told]
    if others:
        display(Markdown("## Other figures"), *(show(files, name) for name in others))


def _width_px(png: bytes) -> int:
    return int.from_bytes(png[16:20], "big")


def table(frame: pd.DataFrame) -> HTML:
    """A table with three significant digits and blanks for what is absent."""
    return HTML(frame.map(_told).to_html(index=False, border=0))


def verdicts() -> Markdown:
    """The rules by which each point was judged."""
    return Markdown(rules_table())


def _told(value: object) -> str:
    if value is None or value is pd.NA:
        return ""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return plain(str(value))


def picture(figure: Figure | None, name: str) -> Image | Markdown:
    """A figure as a picture, or a line saying that there is nothing to show."""
    if figure is None:
        return Markdown(f"*There is nothing to show for `{name}`.*")
    shown = Image(plots.rendered(figure, "png"), format="png", alt=f"Figure: {name}")
    shown.width = round(figure.get_size_inches()[0] * PIXELS_AN_INCH)
    return shown
