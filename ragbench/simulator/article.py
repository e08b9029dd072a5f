"""What the notebook on the simulator shows: the study again, its fits, a what-if. Simulates through the others."""

from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
from IPython.display import Markdown
from matplotlib.figure import Figure

from ragbench.report.notebook import as_words
from ragbench.results.folder import locate
from ragbench.results.paths import SHIPPED_STUDIES, StudyPaths
from ragbench.simulator.agreement import AGREEMENT, summary_line
from ragbench.simulator.figure import timeline_figure
from ragbench.simulator.fitting import Fits, choose, fits
from ragbench.simulator.replay import replay
from ragbench.simulator.scenario import read_scenario, simulate, timeline


@dataclass(frozen=True, slots=True)
class Twin:
    """A measured study and its simulation, load by load."""

    replayed: Fits

    @property
    def table(self) -> pd.DataFrame:
        """One row per load, columns as in agreement.csv."""
        return pd.DataFrame([asdict(one) for one in self.replayed.agreements], columns=list(AGREEMENT.columns))

    @property
    def finding(self) -> Markdown:
        """At how many loads the two agree, and what was left out."""
        lines = [as_words(f"{summary_line(self.replayed.agreements)}."), ""]
        return Markdown("\n".join([*lines, *(f"- {as_words(line)}" for line in self.replayed.left_out)]))

    @property
    def service_times(self) -> pd.DataFrame:
        """One row per design: T(n) = `a_s` + `b_s` n, from so many batches."""
        rows = [(one.name, one.times.a_s, one.times.b_s, one.times.batches) for one in self.replayed.fitted]
        return pd.DataFrame(rows, columns=["design", "a_s", "b_s", "batches"])


def make_twin(study: str | Path) -> Twin:
    """Simulate a results folder, given as `locate` takes it, into one named `...-simulated` beside it."""
    folder = locate(Path(study))
    return Twin(replay(StudyPaths(folder), StudyPaths(folder.with_name(f"{folder.name}-simulated"))))


def what_if(study: str | Path, name: str) -> Figure:
    """A scenario of `studies/whatif/`, fitted to a results folder, over time."""
    scenario = read_scenario(SHIPPED_STUDIES / "whatif" / f"{name}.toml")
    fitted = choose(fits(StudyPaths(locate(Path(study)))), scenario.design)
    simulated = simulate(scenario, design=fitted.info["design"], settings=fitted.info["settings"], times=fitted.times)
    return timeline_figure(timeline(simulated), title=scenario.title)
