"""The OpenAPI document, from the table of operations and the shapes of their bodies.

References:
    OpenAPI Specification 3.1, whose schemas are JSON Schema 2020-12, as msgspec makes them.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

import msgspec

from streamnet.daemon.bodies import NDJSON
from streamnet.daemon.operations import Operation
from streamnet.daemon.problems import MEDIA_TYPE
from streamnet.daemon.shapes import Problem

__all__ = ("document",)

_JSON = "application/json"
_NAME = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "Name of the model.",
    "schema": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,63}$"},
}
# What may come of every request: the guard in front of all operations sees to it.
_ALWAYS = (400, 403, 421, 429, 500, 503)
_WITH_BODY = (408, 413, 415, 422)


def document(operations: Sequence[Operation]) -> dict[str, Any]:
    """The document, as JSON can hold it."""
    schemas, components = _schemas(operations)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        line = _described(operation, schemas)
        paths.setdefault(operation.path, {})[operation.method.lower()] = line
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "streamnet",
            "version": version("streamnet"),
            "description": "Models that learn from streams and answer meanwhile.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _schemas(operations: Iterable[Operation]) -> tuple[dict[Any, Any], dict[str, Any]]:
    types: list[Any] = [Problem]
    shapes = (shape for line in operations for shape in (line.request, line.reply))
    types += [shape for shape in shapes if shape is not None]
    schemas, components = msgspec.json.schema_components(
        types, ref_template="#/components/schemas/{name}"
    )
    for one in ("Learn", "Predict"):
        # One of the two is needed, which a type can't say.
        components[f"{one}Request"]["oneOf"] = [
            {"required": ["sample"], "properties": {"samples": {"type": "null"}}},
            {"required": ["samples"], "properties": {"sample": {"type": "null"}}},
        ]
    return dict(zip(types, schemas, strict=True)), components


def _described(line: Operation, schemas: dict[Any, Any]) -> dict[str, Any]:
    parameters = [_NAME] if "{name}" in line.path else []
    parameters += [
        {"name": p.name, "in": p.where, "description": p.description, "schema": p.schema}
        for p in line.parameters
    ]
    described: dict[str, Any] = {
        "operationId": line.name,
        "summary": line.summary,
        "responses": _responses(line, schemas),
    }
    if parameters:
        described["parameters"] = parameters
    if line.has_body:
        described["requestBody"] = {"required": True, "content": _content(line, schemas)}
    if line.scope is not None:
        described["security"] = [{"token": []}]
        described["description"] = f"Needs a token of scope {line.scope}, where tokens are needed."
    return described


def _content(line: Operation, schemas: dict[Any, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {media: {} for media in line.upload}
    if line.request is not None:
        content[_JSON] = {"schema": schemas[line.request]}
    if line.lines:
        content[NDJSON] = {"schema": {"type": "string", "description": line.lines}}
    return content


def _responses(line: Operation, schemas: dict[Any, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {media: {} for media in line.media}
    if line.reply is not None:
        content[_JSON] = {"schema": schemas[line.reply]}
    statuses = [line.status]
    if any(parameter.name == "ack" for parameter in line.parameters):
        statuses.append(202)
    good = {str(status): _response(status, content) for status in statuses}
    wrong = {*_ALWAYS, *line.errors}
    wrong |= {401} if line.scope is not None else set()
    wrong |= {404} if "{name}" in line.path and not line.upload else set()
    wrong |= set(_WITH_BODY) if line.has_body else set()
    wrong |= {422} if line.parameters else set()
    problem = {MEDIA_TYPE: {"schema": schemas[Problem]}}
    bad = {str(status): _response(status, problem) for status in sorted(wrong)}
    if line.name == "readyz":
        bad["503"]["content"] |= content
    return good | bad


def _response(status: int, content: dict[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if content:
        said["content"] = dict(content)
    if status in (429, 503):
        schema = {"type": "integer", "minimum": 1}
        said["headers"] = {"Retry-After": {"description": "Seconds to wait.", "schema": schema}}
    return said
