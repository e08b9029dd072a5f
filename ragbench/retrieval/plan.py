"""The jobs of a run, and the rows of an earlier run that it keeps. Measures nothing, writes nothing.

A cell is matched by its settings. Rows of cells that are no longer in the study move to others.csv, which no figure
shows, and return with the cell.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ragbench.files.toml_tables import StudyError
from ragbench.results.paths import RetrievalPaths
from ragbench.retrieval.cells import Cell, cells_of
from ragbench.retrieval.jobs import Job, jobs_of
from ragbench.retrieval.rows import Row, read_rows
from ragbench.retrieval.study import Study

_TOO_LARGE = "of vectors, more than max_gib"


@dataclass(frozen=True, slots=True)
class Plan:
    """`cells`: all of the study, in order. `rows`: their rows so far; failed cells are measured again.

    `others`: rows of cells that are not in the study.
    """

    cells: tuple[Cell, ...]
    jobs: tuple[Job, ...]
    rows: tuple[Row, ...]
    others: tuple[Row, ...]
    hardware: str

    @property
    def again(self) -> int:
        """Number of cells that failed last time and are measured again."""
        failed = {row.cell for row in self.rows if not row.is_whole}
        return sum(cell in failed for job in self.jobs for cell in job.cells)


def make_plan(
    study: Study,
    paths: RetrievalPaths,
    *,
    hardware: str,
    cores: int,
    grids: Collection[str] = (),
    redo: bool = False,
) -> Plan:
    """Compare the study with its folder of results. `grids`: measure only these. Raises StudyError."""
    _refuse_unknown(study, grids)
    cells = cells_of(study, threads=cores)
    wanted = {cell for cell in cells if not grids or cell.grid in grids}
    earlier = _earlier(paths)
    if redo:
        earlier = {c: row for c, row in earlier.items() if c not in wanted and (grids or row.hardware == hardware)}
    _refuse_mixed(list(earlier.values()), paths, hardware=hardware)
    whole = {cell for cell, row in earlier.items() if row.is_whole}
    left_out = _too_large(study, wanted - whole, hardware=hardware)
    rows = earlier | left_out
    missing = [cell for cell in cells if cell in wanted and cell not in whole and cell not in left_out]
    known = set(cells)
    return Plan(
        cells=cells,
        jobs=jobs_of(study, missing),
        rows=tuple(rows[cell] for cell in cells if cell in rows),
        others=tuple(row for cell, row in earlier.items() if cell not in known),
        hardware=hardware,
    )


def _earlier(paths: RetrievalPaths) -> dict[Cell, Row]:
    """Rows of an earlier run, without cells that were too large: the study may allow larger ones now."""
    rows = (row for path in (paths.others, paths.summary) for row in read_rows(path))
    return {row.cell: row for row in rows if _TOO_LARGE not in (row.reason or "")}


def _refuse_unknown(study: Study, grids: Collection[str]) -> None:
    unknown = [name for name in grids if name not in study.grids]
    if unknown:
        raise StudyError(f"--grid: there is no grid {name!r} (known: {', '.join(study.grids)})" for name in unknown)


def _refuse_mixed(rows: Sequence[Row], paths: RetrievalPaths, *, hardware: str) -> None:
    machines = Counter(row.hardware for row in rows if row.hardware != hardware)
    if machines:
        (machine, count), *_ = machines.most_common(1)
        raise StudyError(
            [
                f"{count} cells in {paths.root} were measured on {machine}, and this is {hardware}: machines are never "
                "mixed; write elsewhere with --results, or measure all grids again with --redo"
            ]
        )


def _too_large(study: Study, cells: Collection[Cell], *, hardware: str) -> dict[Cell, Row]:
    limits = {name: grid.max_gib for name, grid in study.grids.items()}
    return {
        cell: Row.unmeasured(cell, "skipped", f"{cell.gib:.3g} GiB {_TOO_LARGE} {limit:g}", hardware=hardware)
        for cell in cells
        if (limit := limits[cell.grid]) is not None and cell.gib > limit
    }
