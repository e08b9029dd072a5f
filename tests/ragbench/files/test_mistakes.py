"""Mistakes in tables: every one, once, in the words of the file."""

from typing import Annotated

import pytest
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from ragbench.files.mistakes import checked, refuse, sentence
from ragbench.files.toml_tables import StudyError
from ragbench.files.values import TABLE, Choice, Count, Distinct, Listed, Number, OneOrMore, Several, Text, Truth


@dataclass(frozen=True, config=TABLE)
class Part:
    least: Number
    most: Number = 1.0

    @model_validator(mode="after")
    def _in_order(self):
        refuse([sentence("least is more than most", "least", "most")] if self.least > self.most else [])
        return self


@dataclass(frozen=True, config=TABLE)
class Whole:
    name: Annotated[Text, Choice(["a", "b"])] = "a"
    share: Annotated[Number, Field(le=1)] = 0.5
    ready: Truth = False
    sizes: OneOrMore[Count] = (1,)
    words: Listed[Text] = ("x",)
    rates: Distinct[Number] = ()
    parts: dict[str, Part] = Field(default_factory=dict)
    rows: Several[Part] = (Part(0.0),)


@pytest.mark.parametrize(
    ("tables", "lines"),
    [
        ({"name": "c"}, ["name: 'c' is unknown (known: a, b)"]),
        ({"nam": "a"}, ["the file has an unknown key 'nam'; did you mean name? valid: name, share, ready, sizes, "]),
        (
            {"parts": {"a": {"least": 0, "moist": 1}}},
            ["[parts.a] has an unknown key 'moist'; did you mean most? valid"],
        ),
        ({"share": 2}, ["share must be <= 1, got 2"]),
        ({"share": True}, ["share must be a number, got True"]),
        ({"share": 10**400}, ["share must be a number, got 1000"]),
        ({"share": float("nan")}, ["share must be a number, got nan"]),
        ({"ready": 0}, ["ready must be true or false, got 0"]),
        ({"sizes": 0}, ["sizes must be >= 1, got 0"]),
        ({"sizes": 1.0}, ["sizes must be a whole number, got 1.0"]),
        (
            {"sizes": [1.5, "{x}"]},
            ["sizes: each must be a whole number, got 1.5", "sizes: each must be a whole number"],
        ),
        ({"words": "x"}, ["words must be a list, e.g. ['x'], got 'x'"]),
        ({"words": []}, ["words must not be empty"]),
        ({"words": [5]}, ["words: each must be text, got 5"]),
        ({"words": ["x", "x", 5]}, ["words: each must be text, got 5", "words: 'x' is there twice"]),
        ({"rates": [1, 1.0]}, ["rates: 1.0 is there twice"]),
        ({"rates": [1, 2, 1, 2]}, ["rates: 1.0, 2.0 are there twice"]),
        ({"parts": 5}, ["parts must be a table, got 5"]),
        ({"parts": {"a": 5}}, ["[parts.a] must be a table, got 5"]),
        ({"parts": {"a": {}}}, ["[parts.a] least is needed"]),
        ({"parts": {"a": {"least": 2}}}, ["[parts.a] least is more than most"]),
        ({"parts": {"a": {"least": 2, "most": "x"}}}, ["[parts.a] most must be a number, got 'x'"]),
        ({"parts": {"a": {"least": 2, "x": 1}}}, ["[parts.a] has an unknown key 'x'", "[parts.a] least is more than"]),
        ({"rows": [5]}, ["rows: each must be a table, got 5"]),
        ({"rows": [{"least": 0}, {}]}, ["rows[1].least is needed"]),
    ],
    ids=str,
)
def test_each_mistake_is_a_line(tables, lines):
    with pytest.raises(StudyError) as caught:
        checked(Whole, tables)
    assert len(caught.value.mistakes) == len(lines)
    for mistake, line in zip(caught.value.mistakes, lines, strict=True):
        assert mistake.startswith(line)


def test_good_tables_are_left_as_they_are():
    tables = {"sizes": 5, "rates": [1, 2], "parts": {"a": {"least": 0}}}
    found = checked(Whole, tables)
    assert (found.sizes, found.rates, found.parts["a"]) == ((5,), (1.0, 2.0), Part(0.0, 1.0))
    with pytest.raises(StudyError):
        checked(Whole, bad := {"rates": ["x", 1]})
    assert (tables["sizes"], bad) == (5, {"rates": ["x", 1]})


def test_tables_nested_too_deep_are_one_line():
    deep = {}
    for _ in range(5000):
        deep = {"parts": deep}
    with pytest.raises(StudyError, match="more than can be read"):
        checked(Whole, deep)
