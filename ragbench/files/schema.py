"""A JSON schema of the tables that a TOML file may hold, for editors."""

from typing import Any, Union

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema


class _TomlSchema(GenerateJsonSchema):
    """TOML knows no null, and a key is shown by its description."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        found = super().default_schema(schema)
        return {key: value for key, value in found.items() if key != "default" or value not in (None, [])}

    def field_title_should_be_set(self, schema: Any) -> bool:
        del schema
        return False


def schema_of(kinds: dict[str, type], *, otherwise: type) -> dict[str, Any]:
    """The schema of files of several kinds, each known by a key that only its files have."""
    every: Any = Union[*kinds.values(), otherwise]
    schema = TypeAdapter(every).json_schema(schema_generator=_TomlSchema)
    *choices, chosen = schema["anyOf"]
    for key, choice in zip(kinds, choices, strict=True):
        chosen = {"if": {"required": [key]}, "then": choice, "else": chosen}
    # Editors look for the keys to propose in anyOf, and not behind an if.
    return {"$schema": _TomlSchema.schema_dialect, **schema, **chosen, "anyOf": [*schema["anyOf"], True]}
