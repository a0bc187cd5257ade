"""Problems: every error as RFC 9457 has it, and which error of ours has which status.

References:
    M. Nottingham, E. Wilde, S. Dalal. Problem Details for HTTP APIs. RFC 9457, 2023.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from math import ceil

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from streamnet.daemon.shapes import Problem
from streamnet.daemon.shapes import Receipt
from streamnet.daemon.shapes import SampleProblem
from streamnet.errors import BusyError
from streamnet.errors import ClosedError
from streamnet.errors import ConfigurationError
from streamnet.errors import ConflictError
from streamnet.errors import DataError
from streamnet.errors import ModelFileError
from streamnet.errors import NoCandidateError
from streamnet.errors import NotReadyError
from streamnet.errors import OutputError
from streamnet.errors import SampleError
from streamnet.errors import StateError
from streamnet.errors import StreamnetError

__all__ = ("MEDIA_TYPE", "not_routed", "problem", "problem_of", "refusal")

MEDIA_TYPE = "application/problem+json"
_LOG = logging.getLogger("streamnet.daemon")
_STATUSES: dict[type[StreamnetError], int] = {
    BusyError: 429,
    ClosedError: 503,  # before what it is a kind of
    ConfigurationError: 422,
    ConflictError: 409,
    DataError: 422,
    ModelFileError: 422,
    NoCandidateError: 503,
    NotReadyError: 503,
    OutputError: 507,
    StateError: 409,
}


def problem(
    status: int,
    detail: str,
    headers: Mapping[str, str] | None = None,
    receipt: Receipt | None = None,
    sample: SampleProblem | None = None,
) -> Response:
    """An error as a response.

    Args:
        status: That of HTTP.
        detail: What is told.
        headers: Of the response.
        receipt: What was accepted before it.
        sample: Which sample it is about, where it is about one.

    >>> problem(404, "there is no model of that name").body
    b'{"title":"Not Found","status":404,"detail":"there is no model of that name"}'
    """
    body = Problem(HTTPStatus(status).phrase, status, detail, receipt, sample)
    return Response(msgspec.json.encode(body), status, headers, MEDIA_TYPE)


def problem_of(
    error: HTTPException | StreamnetError, receipt: Receipt | None = None, more: str = ""
) -> Response:
    """A refusal, or one of our errors, as a response.

    Args:
        error: What is told.
        receipt: What was accepted before it.
        more: What is told behind the error.
    """
    if isinstance(error, HTTPException):
        return problem(error.status_code, error.detail + more, error.headers, receipt)
    for kind, status in _STATUSES.items():
        if isinstance(error, kind):
            headers, sample = _retrying(error, status), _sample_of(error)
            return problem(status, f"{error}{more}", headers, receipt, sample)
    _LOG.error("a request failed", exc_info=error)
    return problem(500, "an error of the daemon itself; its log says more")


def refusal(status: int, detail: str, **headers: str) -> HTTPException:
    """An error to raise; underscores in the names of headers stand for dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HTTPException(status, detail, named)


async def not_routed(_: Request, error: Exception) -> Response:
    """The problem of a path or a method that nobody answers to, for Starlette."""
    assert isinstance(error, HTTPException)
    return problem_of(error)


def _sample_of(error: StreamnetError) -> SampleProblem | None:
    if isinstance(error, SampleError):
        return SampleProblem(error.number, error.detail)
    return None


def _retrying(error: StreamnetError, status: int) -> dict[str, str] | None:
    if isinstance(error, BusyError):
        return {"retry-after": str(max(ceil(error.retry_after), 1))}
    return {"retry-after": "1"} if status == 503 else None
