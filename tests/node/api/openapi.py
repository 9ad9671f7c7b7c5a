"""The OpenAPI document, read as far as it is used: operations, codes, schemas.

Law: only reads. What the document says that is not understood here is an error, so that
nothing in it goes unread.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import msgspec
from quorate.node.api.errors import HTTP_PROBLEMS
from quorate.node.api.http import OPENAPI
from quorate.wire.errors import ERROR_TRAITS

Node = dict[str, Any]
DOCUMENT: Node = msgspec.json.decode(OPENAPI.read_bytes())
STATUS = {
    **{code.name.lower(): status for code, (status, _) in ERROR_TRAITS.items()},
    **{code: status for code, (status, _) in HTTP_PROBLEMS.items()},
}

_KEYWORDS = {
    *("type", "required", "properties", "additionalProperties", "items", "enum"),
    *("oneOf", "pattern", "minimum", "maximum", "minLength", "maxItems"),
    *("description", "default"),
}


class Described(NamedTuple):
    """One operation, with everything that it refers to put in its place."""

    path: str
    method: str
    parameters: tuple[Node, ...]
    body: Node | None
    # The codes of problems, those that any request can end in among them.
    codes: frozenset[str]
    responses: dict[str, Node]

    def names(self, place: str) -> set[str]:
        """The parameters in the `path`, the `query` or the `header`."""
        return {each["name"] for each in self.parameters if each["in"] == place}

    def allows(self, status: int, code: str | None) -> bool:
        """May it be answered like this? `code` is a problem's."""
        if code is not None:
            return code in self.codes and STATUS[code] == status
        return str(status) in self.responses


def resolved(node: Node) -> Node:
    """What stands where the node points to."""
    if "$ref" not in node:
        return node
    found: Any = DOCUMENT
    for part in node["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return found


def described() -> Iterator[Described]:
    """Every operation, HEAD too."""
    every = DOCUMENT["x-problems"]
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            responses = {
                status: resolved(response)
                for status, response in operation["responses"].items()
            }
            body = operation.get("requestBody")
            found = Described(
                path,
                method.upper(),
                tuple(map(resolved, operation.get("parameters", ()))),
                None if body is None else resolved(body),
                frozenset((*every, *operation.get("x-problems", ()))),
                responses,
            )
            yield found
            if operation.get("x-head", False):
                yield found._replace(method="HEAD")


OPERATIONS = {(each.path, each.method): each for each in described()}


def faults(value: object, schema: Node, where: str = "$") -> Iterator[str]:
    """Where a value is not as the schema says."""
    schema = resolved(schema)
    assert schema.keys() <= _KEYWORDS, schema.keys() - _KEYWORDS
    if "oneOf" in schema:
        fits = [not list(faults(value, each, where)) for each in schema["oneOf"]]
        if sum(fits) != 1:
            yield f"{where} fits {sum(fits)} of {len(fits)}"
        return
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is(value, kind) for kind in kinds):
        yield f"{where} is no {kinds}: {value!r}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where} is none of {schema['enum']}: {value!r}"
    if isinstance(value, str):
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield f"{where} is not like {schema['pattern']}: {value!r}"
    elif isinstance(value, int):
        if not schema.get("minimum", value) <= value <= schema.get("maximum", value):
            yield f"{where} is out of bounds: {value}"
    elif isinstance(value, list):
        for number, part in enumerate(cast("list[object]", value)):
            yield from faults(part, schema["items"], f"{where}[{number}]")
    elif isinstance(value, dict):
        yield from _object_faults(cast(Node, value), schema, where)


def _object_faults(value: Node, schema: Node, where: str) -> Iterator[str]:
    known = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{where} lacks {name}"
    for name, part in value.items():
        if name in known:
            yield from faults(part, known[name], f"{where}.{name}")
        elif schema.get("additionalProperties", True) is False:
            yield f"{where}.{name} is not described"


def _is(value: object, kind: str) -> bool:
    match kind:
        case "null":
            return value is None
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "string":
            return isinstance(value, str)
        case "array":
            return isinstance(value, list)
        case "object":
            return isinstance(value, dict)
        case _:
            raise AssertionError(kind)
