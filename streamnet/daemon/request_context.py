"""The request that is being handled, for log records: its ID, caller, operation and model."""

from __future__ import annotations

import logging
import re
from contextvars import ContextVar
from functools import cached_property
from hashlib import sha256
from typing import final
from uuid import uuid4

from starlette.datastructures import Headers
from starlette.types import Scope

REQUEST_ID_HEADER = "x-request-id"
_VALID_ID = re.compile(r"[\x21-\x7e]{1,200}")


@final
class RequestContext:
    """A request, as far as log records name it."""

    def __init__(self, scope: Scope, operation: str) -> None:
        self._scope = scope
        self.operation = operation
        self.token_name: str = ""  # of a token that has one, once it is known
        self.model: str | None = scope.get("path_params", {}).get(
            "name"
        )  # or of the body, once it is read

    @cached_property
    def request_id(self) -> str:
        """The ID that the client gave in X-Request-ID, else a new one."""
        given = Headers(scope=self._scope).get(REQUEST_ID_HEADER, "")
        return given if _VALID_ID.fullmatch(given) else uuid4().hex

    @property
    def fields(self) -> dict[str, str]:
        """Fields of a log record; a token without a name is named by the start of its hash."""
        fields = {"operation": self.operation, "request_id": self.request_id}
        if (client := self._scope.get("client")) is not None:
            fields["caller"] = client[0]
        if self.model is not None:
            fields["model"] = self.model
        if token := Headers(scope=self._scope).get("authorization", "").partition(" ")[2]:
            digest = sha256(token.strip().encode("latin-1")).hexdigest()[:8]
            fields["token"] = self.token_name or digest
        return fields


CURRENT_REQUEST: ContextVar[RequestContext | None] = ContextVar("CURRENT_REQUEST", default=None)


def add_request_fields(record: logging.LogRecord) -> bool:
    """Add the fields of the current request to a log record, which stays."""
    request = CURRENT_REQUEST.get()
    if request is not None:
        for name, value in request.fields.items():
            record.__dict__.setdefault(name, value)
    return True
