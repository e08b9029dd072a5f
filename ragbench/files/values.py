"""Types of the values in a file's tables, with their checks. The words of a mistake are in mistakes.py."""

import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, TypeVar

from annotated_types import GroupedMetadata
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler, Strict, WithJsonSchema
from pydantic_core import CoreSchema, PydanticCustomError

from ragbench.files.mistakes import sentence

TABLE = ConfigDict(extra="forbid", use_attribute_docstrings=True)  # of every table

Text = Annotated[str, Strict()]
Whole = Annotated[int, Strict()]
Truth = Annotated[bool, Strict()]
Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0)]
Count = Annotated[Whole, Field(ge=1)]
Natural = Annotated[Whole, Field(ge=0)]
Filled = Annotated[Text, Field(min_length=1)]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def _folder_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise sentence(f"name {name!r}: use letters, digits, and . _ - (it names folders)")
    return name


def _filled(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if not values:  # pydantic's own min_length also counts what was wrong in a list as absent
        raise PydanticCustomError("too_short", "must not be empty")
    return values


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    twice = [repr(value) for i, value in enumerate(values) if value in values[:i]]
    if twice:
        raise ValueError(f"{', '.join(twice)} {'is' if len(twice) == 1 else 'are'} there twice")
    return values


class _OneOrMore:
    """A list that may be written as its only value."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        many = handler(schema)
        return {"anyOf": [many["items"], many]}


class Choice(GroupedMetadata):
    """A text that is one of `names`."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = list(names)

    def __iter__(self) -> Iterator[object]:
        yield AfterValidator(self._check)
        yield WithJsonSchema({"type": "string", "enum": self._names})

    def _check(self, text: str) -> str:
        if text not in self._names:
            raise ValueError(f"{text!r} is unknown (known: {', '.join(self._names)})")
        return text


Name = Annotated[Text, AfterValidator(_folder_name)]

T = TypeVar("T")
Distinct = Annotated[tuple[T, ...], AfterValidator(_distinct)]
Several = Annotated[tuple[T, ...], AfterValidator(_filled), Field(json_schema_extra={"minItems": 1})]
Listed = Annotated[Several[T], AfterValidator(_distinct)]
OneOrMore = Annotated[
    Listed[T], BeforeValidator(lambda value: value if isinstance(value, list | tuple) else (value,)), _OneOrMore()
]
