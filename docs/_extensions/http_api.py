"""The directives `http-operations` and `http-schemas`: the daemon's API, from its own description.

What a page shows is what the daemon answers at `/openapi.json`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from streamnet.daemon.http.app import build_document

API = build_document()
SCHEMAS: dict[str, Any] = API["components"]["schemas"]


class Operations(SphinxDirective):
    """A section for each operation: what is sent, what comes back, and who may ask for it."""

    def run(self) -> list[nodes.Node]:
        """The sections."""
        return self.parse_text_to_nodes("\n".join(operations()), allow_section_headings=True)


class Schemas(SphinxDirective):
    """A section for each JSON body: its fields and their types."""

    def run(self) -> list[nodes.Node]:
        """The sections."""
        return self.parse_text_to_nodes("\n".join(schemas()), allow_section_headings=True)


def operations() -> Iterator[str]:
    """Lines of Markdown about all operations."""
    for path, methods in API["paths"].items():
        for method, operation in methods.items():
            yield from described(f"{method.upper()} {path}", operation)


def described(call: str, operation: dict[str, Any]) -> Iterator[str]:
    """Lines of Markdown about one operation."""
    yield f"### `{call}`\n\n{operation['summary']}. {operation.get('description', '')}\n"
    for parameter in operation.get("parameters", []):
        if parameter["in"] != "path":
            where = {"query": "Query", "header": "Header"}[parameter["in"]]
            yield f":{where} `{parameter['name']}`: {parameter['description']}"
    if body := operation.get("requestBody"):
        yield f":Request: {media(body['content'])}"
    responses = operation["responses"]
    for status, response in responses.items():
        if status < "400":
            yield f":{status}: {media(response.get('content', {})) or 'no body'}"
    refused = ", ".join(status for status in responses if status >= "400")
    yield f":Refused with: {refused}\n"


def media(content: dict[str, Any]) -> str:
    """The media types of a body, each with the schema that it has."""
    return ", ".join(
        f"`{name}`" + (f" ({shape})" if (shape := kind(value.get("schema", {}))) else "")
        for name, value in content.items()
    )


def schemas() -> Iterator[str]:
    """Lines of Markdown about all bodies."""
    for name, schema in SCHEMAS.items():
        text = inspect.cleandoc(schema.get("description", "")).partition("\n\n>>>")[0]
        yield f"(schema-{name})=\n### `{name}`\n\n{text.replace('``', '`')}\n"
        required = schema.get("required", [])
        rows = [
            f"| `{field}` | {kind(value)} | {'yes' if field in required else 'no'} |"
            for field, value in schema.get("properties", {}).items()
        ]
        if rows:
            yield "\n".join(["| field | type | required |", "|---|---|---|", *rows, ""])


def kind(schema: dict[str, Any]) -> str:
    """A JSON schema in a few words."""
    if reference := schema.get("$ref"):
        name = reference.rpartition("/")[2]
        return f"[`{name}`](#schema-{name})"
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(kind(one) for one in schema["anyOf"]))
    if schema.get("type") == "array":
        # Of an array of fixed length each entry has its own, and ``items`` is False.
        entries = schema.get("prefixItems") or [schema.get("items", {})]
        return f"array of {', '.join(dict.fromkeys(map(kind, entries))) or 'anything'}"
    if isinstance(values := schema.get("additionalProperties"), dict) and values:
        return f"object of {kind(values)}"
    return str(schema.get("type", ""))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    app.add_directive("http-operations", Operations)
    app.add_directive("http-schemas", Schemas)
    return {"parallel_read_safe": True}
