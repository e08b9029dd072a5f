"""What the notebook on retrieval shows: figures, findings and tables. Computes nothing."""

from dataclasses import dataclass
from pathlib import Path

from IPython.display import Image, Markdown, display

from ragbench.report import notebook
from ragbench.report.notebook import as_list, as_words
from ragbench.results.paths import RetrievalPaths
from ragbench.retrieval.findings import FINDINGS
from ragbench.retrieval.plots import FIGURES, save_all
from ragbench.retrieval.results import Results, by_grid, load_results
from ragbench.retrieval.roofline import read_roofs


@dataclass(frozen=True, slots=True)
class Article:
    """A study, and the files of its figures."""

    results: Results
    files: tuple[Path, ...]

    @property
    def about(self) -> Markdown:
        """Title, machine, number of cells by status, and the roofs of each device."""
        results = self.results
        statuses = ", ".join(f"{n} {status}" for status, n in results.cells["status"].value_counts().items())
        roofs = [f"- {as_words(str(roof))}" for roof in read_roofs(RetrievalPaths(results.folder).roofline)]
        machines = ", ".join(map(as_words, results.hardware))
        named = f"**{as_words(results.title)}** ({as_words(results.name)}), on {machines}."
        return Markdown("\n".join([f"{named} {len(results.cells)} cells: {as_words(statuses)}.", "", *roofs]))

    def figure(self, name: str) -> Image | Markdown:
        """A figure, or a line saying that the study has nothing for it."""
        return notebook.show(self.files, name, known=tuple(FIGURES))

    def finding(self, name: str) -> Markdown:
        """The finding of a figure, from the same rows."""
        lines = FINDINGS[name](self.results)
        return as_list(list(lines)) if lines else Markdown("*This study has no rows for that.*")

    def tables(self) -> None:
        """Every cell, a table per grid."""
        for heading, rows in by_grid(self.results.cells):
            display(Markdown(f"**{as_words(heading)}**"), notebook.table(rows))


def make_article(study: str | Path) -> Article:
    """Read a results folder (as for `locate`) and write its figures."""
    results = load_results(study)
    return Article(results, tuple(save_all(results)))
