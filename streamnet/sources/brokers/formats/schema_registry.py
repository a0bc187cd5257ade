"""A schema registry, asked over HTTP for schemas by their ids."""

from __future__ import annotations

import json
import ssl
from base64 import b64encode
from typing import Any, final
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

from streamnet.errors import ConfigurationError, ReadError
from streamnet.settings.brokers import MessageSettings
from streamnet.sources.brokers.secrets import read_secret

SECONDS = 10.0  # for an answer
_MAX_DEPTH = 20  # of schemas that refer to others


@final
class SchemaRegistry:
    """Finds the texts of schemas. That it can't be reached is a `ReadError`, which may pass."""

    def __init__(self, settings: MessageSettings) -> None:
        self._url = str(settings.registry).rstrip("/")
        self._headers = {"Accept": "application/vnd.schemaregistry.v1+json, application/json"}
        password = read_secret(
            "registry_password", settings.registry_password_file, settings.registry_password_env
        )
        if settings.registry_user is not None:
            pair = f"{settings.registry_user}:{password or ''}".encode()
            self._headers["Authorization"] = f"Basic {b64encode(pair).decode()}"
        self._context = None
        if self._url.startswith("https:"):
            try:
                self._context = ssl.create_default_context(cafile=settings.registry_ca)
            except OSError as error:
                path = settings.registry_ca
                raise ConfigurationError(f"registry_ca is {path!r}, but: {error}") from error

    def find(self, number: int) -> list[str] | None:
        """The texts of a schema and, before it, of those it refers to; None if it is unknown."""
        found = self._get(f"/schemas/ids/{number}")
        if found is None:
            return None
        texts: dict[str, None] = {}
        self._add_references(found, texts, 0)
        return [*texts, found["schema"]]

    def _add_references(self, found: dict[str, Any], texts: dict[str, None], depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise ReadError(f"{self._url} has schemas that refer to each other")
        for reference in found.get("references", ()):
            subject, version = quote(reference["subject"], safe=""), reference["version"]
            other = self._get(f"/subjects/{subject}/versions/{version}")
            if other is not None:
                self._add_references(other, texts, depth + 1)
                texts[other["schema"]] = None

    def _get(self, path: str) -> dict[str, Any] | None:
        """The answer to a request; None if there is no such thing."""
        request = Request(self._url + path, headers=self._headers)  # noqa: S310 - checked by the settings
        try:
            with urlopen(request, timeout=SECONDS, context=self._context) as reply:  # noqa: S310
                found: dict[str, Any] = json.load(reply)
        except HTTPError as error:
            error.close()
            if error.code == 404:
                return None
            if error.code in (401, 403):
                raise ConfigurationError(
                    f"registry is {self._url!r}, but it refuses access: {error.code} {error.reason}"
                ) from None
            raise ReadError(f"{self._url}{path}: {error.code} {error.reason}") from None
        except (URLError, OSError, ValueError) as error:
            why = getattr(error, "reason", error)
            raise ReadError(f"{self._url}{path} can't be read: {why}") from None
        return found
