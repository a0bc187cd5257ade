"""Bearer tokens of an identity provider (OpenID Connect), verified with PyJWT by its public keys.

References:
    OpenID Connect Discovery 1.0. RFC 7517 (JSON Web Key). RFC 7519 (JSON Web Token).
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from hashlib import sha256
from threading import Lock
from time import monotonic, time
from typing import Any, final

import httpx
import jwt
from jwt.exceptions import PyJWKSetError, PyJWTError

from streamnet.client.operation import Scope
from streamnet.daemon.http.grants import NOTHING, Grant
from streamnet.settings.daemon import OidcSection

_LOG = logging.getLogger("streamnet.daemon")

# With a shared secret among them, a public key could be taken for that secret.
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]
_REQUIRED = ["exp", "iss", "aud"]
_FETCH_SECONDS = 5.0
_MIN_REFRESH_SECONDS = 10.0  # between two attempts to get the keys
_KEY_SECONDS = 3600.0  # after which they are got again: a withdrawn key must not live on
_KEPT_TOKENS = 1000  # verified ones
_CONFIGURATION = "/.well-known/openid-configuration"


@final
class OidcVerifier:
    """Turns tokens of an identity provider into grants.

    Args:
        settings: The provider, and which claims say what.
        clock: The time in seconds since 1970.
        elapsed: A monotonic clock, in seconds.
    """

    def __init__(
        self,
        settings: OidcSection,
        *,
        clock: Callable[[], float] = time,
        elapsed: Callable[[], float] = monotonic,
    ) -> None:
        self.settings = settings
        self._clock, self._elapsed = clock, elapsed
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._tried: float | None = None  # when they were asked for last
        self._fetched: float | None = None  # when they came last
        self._known: OrderedDict[bytes, tuple[Grant, float]] = OrderedDict()  # until a time
        self._lock = Lock()

    @property
    def is_reachable(self) -> bool:
        """Whether the provider gave its keys when it was asked last."""
        return self._fetched is not None and self._fetched == self._tried

    def needs_keys(self, token: bytes, *, is_valid: bool) -> bool:
        """Whether keys are to be asked for: they are old, or do not have that of a token."""
        if self._has_just_tried():
            return False
        if self._fetched is None or self._elapsed() - self._fetched >= _KEY_SECONDS:
            return True
        return not is_valid and self._read_key_id(token) not in self._keys

    def _has_just_tried(self) -> bool:
        return self._tried is not None and self._elapsed() - self._tried < _MIN_REFRESH_SECONDS

    def refresh(self) -> None:
        """Ask the provider for its keys; this blocks. If that fails, the known ones stay."""
        with self._lock:
            if self._has_just_tried():  # in another thread
                return
            tried = self._tried = self._elapsed()
            try:
                keys = self._fetch_keys()
            except (httpx.HTTPError, PyJWTError, KeyError, TypeError, ValueError) as error:
                _LOG.warning("keys of %s can't be read: %s", self.settings.issuer, error)
                return
            if keys.keys() != self._keys.keys():
                self._known.clear()  # a token may be of a key that was withdrawn
            self._keys, self._fetched = keys, tried

    def _fetch_keys(self) -> dict[str | None, jwt.PyJWK]:
        issuer = self.settings.issuer
        with httpx.Client(timeout=_FETCH_SECONDS) as client:
            known = client.get(issuer.rstrip("/") + _CONFIGURATION).raise_for_status().json()
            if known["issuer"] != issuer:
                raise ValueError(f"its configuration is that of {known['issuer']!r}")
            found = client.get(known["jwks_uri"]).raise_for_status().json()
        try:
            return {key.key_id: key for key in jwt.PyJWKSet.from_dict(found).keys}
        except PyJWKSetError as error:
            raise ValueError(str(error)) from error

    def find(self, token: bytes) -> Grant:
        """What a token allows; nothing if it is not valid by the known keys."""
        digest, now = sha256(token).digest(), self._clock()
        if (known := self._known.get(digest)) is not None:
            grant, until = known
            return grant if now < until else NOTHING
        key = self._keys.get(self._read_key_id(token))
        if key is None:
            return NOTHING
        try:
            claims = jwt.decode(
                token,
                key.key,
                algorithms=_ALGORITHMS,
                audience=self.settings.audience,
                issuer=self.settings.issuer,
                leeway=self.settings.leeway,
                options={"require": _REQUIRED},
            )
        except PyJWTError:  # it is not valid, whatever the reason
            return NOTHING
        grant = self._build_grant(claims)
        self._known[digest] = grant, claims["exp"] + self.settings.leeway
        if len(self._known) > _KEPT_TOKENS:
            self._known.popitem(last=False)
        return grant

    def _read_key_id(self, token: bytes) -> str | None:
        try:
            found: str | None = jwt.get_unverified_header(token).get("kid")
        except PyJWTError:
            return ""  # of no key
        return found

    def _build_grant(self, claims: Mapping[str, Any]) -> Grant:
        given = claims.get(self.settings.scopes, ())
        words = given.split() if isinstance(given, str) else list(given)
        names = {str(word).rpartition(":")[2] for word in words}
        scopes = frozenset(scope for scope in Scope if scope in names)
        models = None
        if self.settings.models is not None:
            models = frozenset(map(str, claims.get(self.settings.models, ())))
        every = frozenset(Scope) if Scope.ADMIN in scopes else scopes
        return Grant(every, str(claims.get(self.settings.name, "")), models)
