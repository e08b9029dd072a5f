"""Study TOML -> Study. What a value may be is decided in study.py; here are the file, its tables and their order."""

from collections.abc import Mapping
from dataclasses import asdict, field, fields
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationInfo
from pydantic.dataclasses import dataclass

from ragbench.files.mistakes import checked, sentence
from ragbench.files.toml_tables import StudyError, Table, read_toml
from ragbench.files.values import TABLE, Name
from ragbench.results.paths import SHIPPED_STUDIES
from ragbench.study.study import Design, Head, Load, Study, Workload

_STAND_IN = {"rates": (1.0,), "duration_s": 1.0}  # where [load] is wrong, which is told once and not for each design


def _with_loads(designs: object, info: ValidationInfo) -> object:
    """Designs with whole loads: [load], less what the design's own load replaces."""
    if not isinstance(designs, Mapping) or not designs:
        raise sentence('[designs.NAME] is needed at least once, with command = "..." or url = "..."')
    base = asdict(info.data["load"]) if "load" in info.data else _STAND_IN
    return {name: _with_load(design, base) for name, design in designs.items()}


def _with_load(design: object, base: Mapping[str, Any]) -> object:
    own = design.get("load", {}) if isinstance(design, Mapping) else None
    if not isinstance(design, Mapping) or not isinstance(own, Mapping):
        return design
    if "duration_s" in own or "requests" in own:
        base = {**base, "duration_s": None, "requests": None}
    return {**design, "load": {**base, **own}}


@dataclass(frozen=True, slots=True, kw_only=True, config=TABLE)
class StudyFile:
    """The tables of a study file."""

    study: Head = field(default_factory=Head)
    """The study as a whole."""
    workload: Workload = field(default_factory=Workload)
    """What is asked."""
    load: Load
    """The load on each design, save where [designs.NAME.load] says otherwise."""
    designs: Annotated[dict[Name, Design], BeforeValidator(_with_loads)]
    """What is measured, by name."""


def find_study(name: str) -> Path:
    """The file of a study given as a path or as a name in studies/. Raises StudyError listing the known names."""
    given = Path(name)
    for path in (given, Path("studies") / f"{name}.toml", SHIPPED_STUDIES / f"{name}.toml"):
        if path.is_file():
            return path
    known = sorted({path.stem for folder in (Path("studies"), SHIPPED_STUDIES) for path in folder.glob("*.toml")})
    raise StudyError([f"no study at {name!r}; known by name: {', '.join(known) or 'none'}"])


def load_study(path: Path) -> Study:
    """Read and check a study file. Raises StudyError holding every mistake in it."""
    tables = read_toml(path)
    if "grids" in tables:
        raise StudyError([f"{path} is a retrieval study: ragbench retrieval {path}"])
    try:
        return parse_study(tables, default_name=path.stem)
    except StudyError as error:
        raise StudyError(f"{path}: {mistake}" for mistake in error.mistakes) from error


def parse_study(tables: Table, *, default_name: str) -> Study:
    """The study that `tables` describe. Raises StudyError holding every mistake."""
    if "variants" in tables:
        raise StudyError(["[variants] is now [designs]: write [designs.NAME] for each [variants.NAME]"])
    file = checked(StudyFile, with_name({"load": {}, "designs": {}, **tables}, default_name))
    head = {item.name: getattr(file.study, item.name) for item in fields(Head)}
    return Study(**head, workload=file.workload, designs=file.designs)


def with_name(tables: Table, default: str) -> Table:
    """Tables whose [study] has a name."""
    head = tables.get("study", {})
    return {**tables, "study": {"name": default, **head}} if isinstance(head, Mapping) else tables
