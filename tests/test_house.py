"""The house: no flat file more, no folder and no file too large, and no exception that is needed no longer."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "scripts"))

import house

from servers.__main__ import DESIGNS

FOUND = house.files()
FLAT = {
    "servers": " ".join(["__init__ __main__ addresses errors exits limit retrieval tasks", *DESIGNS]),
    "ragbench": "__init__ __main__ terminal",
}
ROOMS = {
    "servers": "backend engine fleet http measure queueing rag settings telemetry",
    "ragbench": "calibration capacity chaos cli compare files load machine measure plots processes report results "
    "retrieval simulator statistics study",
}


def test_a_new_file_goes_to_a_room() -> None:
    for package, names in FLAT.items():
        assert {path.stem for path in FOUND if path.parent.as_posix() == package} == set(names.split())


def test_a_new_room_has_a_floor() -> None:
    settings = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    for package, names in ROOMS.items():
        rooms = {path.parts[1] for path in FOUND if path.parts[0] == package and len(path.parts) > 2}
        assert rooms == set(names.split())
        assert all(f"{package}.{room}" in settings for room in rooms), "in the layers of import-linter"


def test_every_room_has_a_contract() -> None:
    for folder in house.folders(FOUND):
        package = Path(__file__).parents[1] / folder / "__init__.py"
        assert package.read_text(encoding="utf-8").startswith('"""'), folder


def test_no_file_and_no_folder_is_too_large_and_no_exception_is_needed_no_longer() -> None:
    assert house.too_large(FOUND) == house.KNOWN


def test_what_is_printed_ends_well(capsys) -> None:
    assert house.main() == 0
    printed = capsys.readouterr().out
    assert "servers/http" in printed
    assert "functions: median" in printed
