"""`ragbench doctor --schema`: what editors are told of studies."""

import json
import tomllib

import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from ragbench.__main__ import application
from ragbench.results.paths import SHIPPED_STUDIES

SHIPPED = sorted(SHIPPED_STUDIES.glob("**/*.toml"))
DESIGN = {"command": "x"}
LOAD = {"rates": [5], "duration_s": 1}
GRID = {"metric": "ip", "n": 5, "d": 2, "backend": "numpy"}


@pytest.fixture(scope="module")
def validator():
    schema = json.loads(CliRunner().invoke(application(["doctor"]), ["doctor", "--schema"]).stdout)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_study_is_valid(validator, path):
    validator.validate(tomllib.loads(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"load": LOAD, "designs": {"a": DESIGN}, "extra": 1}, "'extra' was unexpected"),
        ({"load": LOAD | {"rate": 5}, "designs": {"a": DESIGN}}, "'rate' was unexpected"),
        ({"load": LOAD, "designs": {"a": DESIGN | {"load": {"rate": 5}}}}, "'rate' was unexpected"),
        ({"load": LOAD, "designs": {"a": DESIGN | {"url": "http://x"}}}, "is valid under each of"),
        ({"load": LOAD, "designs": {"a": DESIGN}, "study": {"slo": {"latency_p42_s": 1}}}, "'latency_p42_s' was unexp"),
        ({"load": LOAD | {"rates": [0]}, "designs": {"a": DESIGN}}, "0 is less than or equal to the minimum of 0"),
        ({"grids": {"a": GRID | {"nn": 5}}}, "'nn' was unexpected"),
        ({"grids": {"a": {"metric": "ip"}}}, "'n' is a required property"),
        ({"design": "scaled", "phases": [{"duration_s": 1, "rate": 5, "kill": 1}]}, "'kill' was unexpected"),
    ],
)
def test_a_mistake_is_found_by_its_place(validator, tables, message):
    assert message in next(error.message for error in validator.iter_errors(tables))


def test_every_key_is_described(validator):
    def keys(schema):
        if isinstance(schema, dict):
            yield from schema.get("properties", {}).items()
        for inner in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
            yield from keys(inner)

    found = dict(keys(validator.schema))
    assert {"rates", "slo", "nlist", "max_gib", "kills", "settings"} < set(found)
    assert [key for key, schema in found.items() if not {"description", "$ref"} & set(schema)] == []
