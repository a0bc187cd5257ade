"""Problems: every error as RFC 9457 has it, and which error of ours has which status.

References:
    M. Nottingham, E. Wilde, S. Dalal. Problem Details for HTTP APIs. RFC 9457, 2023.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from streamnet.daemon.shapes import Problem
from streamnet.errors import ConfigurationError
from streamnet.errors import DataError
from streamnet.errors import ModelFileError
from streamnet.errors import NoCandidateError
from streamnet.errors import OutputError
from streamnet.errors import StateError
from streamnet.errors import StreamnetError

__all__ = ("HANDLERS", "MEDIA_TYPE", "problem", "refusal")

MEDIA_TYPE = "application/problem+json"
_LOG = logging.getLogger("streamnet.daemon")
# The first that fits; the more special ones stand before their bases.
_STATUSES: tuple[tuple[type[StreamnetError], int], ...] = (
    (ConfigurationError, 422),
    (ModelFileError, 422),
    (DataError, 422),
    (NoCandidateError, 503),
    (OutputError, 507),
    (StateError, 409),
)


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """An error as a response."""
    body = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail)
    return Response(msgspec.json.encode(body), status, headers, MEDIA_TYPE)


def refusal(status: int, detail: str, **headers: str) -> HTTPException:
    """An error to raise; underscores in the names of headers stand for dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HTTPException(status, detail, named)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problem(error.status_code, error.detail, error.headers)


async def _failed(request: Request, error: Exception) -> Response:
    for kind, status in _STATUSES:
        if isinstance(error, kind):
            return problem(status, str(error))
    return await _broken(request, error)


async def _broken(request: Request, error: Exception) -> Response:
    _LOG.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return problem(500, "an error of the daemon itself; its log says more")


HANDLERS = {HTTPException: _refused, StreamnetError: _failed, Exception: _broken}
