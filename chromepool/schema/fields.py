"""Descriptions and bounds of the API's fields, and the parameters that they make."""

import dataclasses
import functools
from typing import Annotated, Any

import msgspec
from msgspec import Meta

END = r"$(?!\n)"
"""End of a text in a pattern. To Python, ``$`` alone also matches before a final line feed."""


def about(description: str, **bounds: Any) -> Meta:
    """Describe a field in a sentence or a noun phrase that stands alone, with its unit."""
    return Meta(description=description, **bounds)


Seconds = Annotated[
    str, Meta(pattern=r"^[0-9]{1,9}(\.[0-9]{1,9})?$", title="a number of seconds such as 30 or 0.5")
]
"""A duration in a query. Text, because digits alone are taken: no sign, no exponent, no ``nan``."""


class SessionPath(msgspec.Struct):
    """Path of a session."""

    id: Annotated[str, about("Id of the session.")]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Parameter:
    """A parameter: its name in requests, and the values it takes."""

    name: str
    attribute: str
    kind: Any
    """Type of the attribute, for ``msgspec.convert``."""
    repeated: bool
    """True if the parameter may be given several times, which makes a list."""
    description: str
    schema: dict[str, Any]
    """JSON schema of one value."""

    @property
    def expected(self) -> str:
        """Values that the parameter takes, in words."""
        if "enum" in self.schema:
            return f"one of {', '.join(self.schema['enum'])}"
        return str(self.schema.get("title", "text in UTF-8"))

    def convert(self, texts: list[str]) -> object:
        """Convert what was given; only the first text counts unless it may be repeated.

        Raises :class:`ValueError`, :class:`msgspec.ValidationError`.
        """
        "".join(texts).encode()  # half a surrogate pair is no text
        if self.repeated:
            return msgspec.convert(texts, self.kind)
        text = texts[0]
        if self.schema["type"] == "integer":
            if not (text.isascii() and text.isdigit()):  # int() takes +5, msgspec takes 1e2
                raise ValueError(text)
            return msgspec.convert(int(text), self.kind)
        if "pattern" in self.schema and text.endswith("\n"):  # to Python, $ matches before it
            raise ValueError(text)
        return msgspec.convert(text, self.kind)


@functools.cache
def parameters_of(kind: type[msgspec.Struct]) -> tuple[Parameter, ...]:
    """List the parameters that a type declares, one for each field."""
    return tuple(map(_parameter, msgspec.structs.fields(kind)))


def _parameter(field: msgspec.structs.FieldInfo) -> Parameter:
    schema = msgspec.json.schema(field.type)
    description = schema.pop("description")
    repeated = schema.get("type") == "array"
    if repeated:
        schema = schema["items"]
        schema.pop("description", None)
    schema = {"type": "string"} | schema
    return Parameter(field.encode_name, field.name, field.type, repeated, description, schema)
