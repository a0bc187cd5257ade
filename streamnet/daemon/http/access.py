"""Access control: tokens with scopes, limits, and rate limiting per client."""

from __future__ import annotations

import hmac
import os
import stat
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from hashlib import sha256
from math import inf
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, final

from anyio import to_thread

from streamnet.client.operation import Scope
from streamnet.daemon.http.grants import EVERYTHING, NOTHING, Grant
from streamnet.errors import ConfigurationError, NotReadyError
from streamnet.settings.daemon import MODEL_NAME

if TYPE_CHECKING:
    from streamnet.daemon.http.oidc import OidcVerifier

TOKEN_VARIABLE = "STREAMNET_TOKEN"  # noqa: S105 - a variable's name
_MIN_TOKEN_LENGTH = 16  # characters; shorter ones could be guessed
_BEARER = b"bearer "
_ALL_SCOPES = frozenset(Scope)
_OPTIONS = ("name", "models", "rate")


@final
class Access:
    """The valid tokens and what they allow; tokens are stored as hashes.

    Args:
        tokens: Scopes, or a whole grant, by token. None grants everything to everyone, which is for
            loopback only.
        oidc: Verifies tokens of an identity provider, besides.

    >>> access = Access({"0123456789abcdef": {Scope.READ}})
    >>> access.find_scopes(b"Bearer 0123456789abcdef")
    frozenset({<Scope.READ: 'read'>})
    >>> access.find_scopes(b"Bearer wrong")
    frozenset()
    """

    is_open: bool

    def __init__(
        self,
        tokens: Mapping[str, set[Scope] | Grant] | None = None,
        oidc: OidcVerifier | None = None,
    ) -> None:
        self.is_open = tokens is None and oidc is None
        self.oidc = oidc
        self._grants: list[tuple[bytes, Grant]] = []
        self._rates: dict[str, RateLimiter] = {}  # by the name of the grant
        for token, given in (tokens or {}).items():
            grant = given if isinstance(given, Grant) else Grant(frozenset(given))
            if len(token) < _MIN_TOKEN_LENGTH:
                raise ConfigurationError(
                    f"a token is {len(token)} long, but must be >= {_MIN_TOKEN_LENGTH}"
                )
            if not grant.scopes:
                raise ConfigurationError("a token has no scope, but must have one or more")
            if Scope.ADMIN in grant.scopes:
                grant = grant._replace(scopes=_ALL_SCOPES)
            self._grants.append((_hash_token(token.encode()), grant))
            if grant.rate is not None:
                self._rates[grant.name] = RateLimiter(Limits(max_rate=grant.rate))

    @classmethod
    def read(
        cls,
        path: str | os.PathLike[str] | None,
        variable: str | None = None,
        oidc: OidcVerifier | None = None,
    ) -> Access:
        """Read the tokens of a file and of an environment variable; without any, access is open.

        A line of the file holds a token and its scopes, as in ``s3cr3t-s3cr3t-s3cr3t
        read,predict``, then perhaps ``name=NAME``, ``models=NAME,NAME`` and ``rate=NUMBER``; empty
        lines and lines that start with # are skipped. The variable's token has all scopes; without
        a file the variable is ``STREAMNET_TOKEN`` unless another one is named. No error message
        shows a token.
        """
        tokens = {} if path is None else _read_tokens(Path(path))
        # With a file the variable must be named: clients keep their own token in the default one.
        default = TOKEN_VARIABLE if path is None else ""
        if token := os.environ.get(variable or default, ""):
            known = tokens.setdefault(token, EVERYTHING)
            if Scope.ADMIN not in known.scopes:
                raise ConfigurationError(
                    f"the token in ${variable} has all scopes, but token_file {path} gives it only "
                    f"{_format_scopes(known.scopes)}: keep it in one of the two"
                )
        elif variable is not None:
            raise ConfigurationError(f"token_env is {variable!r}, but that variable is not set")
        return cls(tokens or None, oidc)

    def replace_with(self, other: Access) -> None:
        """Accept the tokens of another instance from now on instead of the current ones."""
        self._grants, self.is_open, self._rates = other._grants, other.is_open, other._rates
        self.oidc = other.oidc

    def find_scopes(self, authorization: bytes | None) -> frozenset[Scope]:
        """The scopes of the header's token; empty if it is unknown."""
        return self.find(authorization).scopes

    def find(self, authorization: bytes | None) -> Grant:
        """What the header's token allows; nothing if it is unknown."""
        if self.is_open:
            return EVERYTHING
        if authorization is None or authorization[: len(_BEARER)].lower() != _BEARER:
            return NOTHING
        token = authorization[len(_BEARER) :].strip()
        sent, found = _hash_token(token), NOTHING
        # Compare with all tokens, so that the time taken reveals nothing.
        for known, grant in self._grants:
            if hmac.compare_digest(known, sent):
                found = grant
        return self.oidc.find(token) if found is NOTHING and self.oidc is not None else found

    async def admit(self, authorization: bytes | None) -> Grant:
        """Like `find`, but get the keys of the identity provider first if they may be needed.

        Raises:
            NotReadyError: If the provider can't be reached, and no token is known.
        """
        found = self.find(authorization)
        if self.oidc is None or authorization is None or authorization.count(b".") != 2:
            return found  # not one of the provider's
        token = authorization[len(_BEARER) :].strip()
        if self.oidc.needs_keys(token, is_valid=bool(found.scopes)):
            await to_thread.run_sync(self.oidc.refresh)
            found = self.find(authorization)
        if not found.scopes and not self.oidc.is_reachable:
            raise NotReadyError("the identity provider can't be reached")
        return found

    def take(self, grant: Grant) -> float:
        """Count a request of a grant; returns seconds to wait if there were too many."""
        return 0.0 if grant.rate is None else self._rates[grant.name].take("")


def _hash_token(token: bytes) -> bytes:
    return sha256(token).digest()


def _read_tokens(path: Path) -> dict[str, Grant]:
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ConfigurationError(f"token_file {path} can't be read: {reason}") from error
    if mode & (stat.S_IRWXG & ~stat.S_IRGRP | stat.S_IRWXO):
        raise ConfigurationError(
            f"token_file {path} has mode {stat.S_IMODE(mode):o}, but must not be accessible to "
            "others (640)"
        )
    tokens: dict[str, Grant] = {}
    names: dict[str, str] = {}  # tokens by name
    for number, line in enumerate(text.splitlines(), 1):
        if not (words := line.split()) or words[0].startswith("#"):
            continue
        if (length := len(words[0])) < _MIN_TOKEN_LENGTH:
            rule = f"must be >= {_MIN_TOKEN_LENGTH}"
            raise ConfigurationError(f"{path}:{number}: the token is {length} long, but {rule}")
        grant = _parse_grant(words[1:], f"{path}:{number}")
        before = tokens.setdefault(words[0], grant)
        if before.scopes != grant.scopes:
            raise ConfigurationError(
                f"{path}:{number}: the token has {_format_scopes(grant.scopes)}, but an earlier "
                f"line gives it {_format_scopes(before.scopes)}"
            )
        if before != grant:
            raise ConfigurationError(
                f"{path}:{number}: an earlier line has the token with another name, rate or models"
            )
        if grant.name and names.setdefault(grant.name, words[0]) != words[0]:
            raise ConfigurationError(
                f"{path}:{number}: name is {grant.name!r}, but that is another token's"
            )
    if not tokens:
        raise ConfigurationError(f"token_file {path} contains no token")
    return tokens


def _parse_grant(words: list[str], place: str) -> Grant:
    """Parse the scopes and the options behind a token."""
    options: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            continue
        if name not in _OPTIONS or not value:
            raise ConfigurationError(
                f"{place}: option is {word!r}, but must be name=NAME, models=NAME,NAME or "
                "rate=NUMBER"
            )
        options[name] = value
    scopes = frozenset(_parse_scopes([word for word in words if "=" not in word], place))
    models = options.get("models")
    for model in models.split(",") if models else ():
        if not MODEL_NAME.fullmatch(model):
            raise ConfigurationError(f"{place}: models has {model!r}, but that is no name of one")
    return Grant(
        _ALL_SCOPES if Scope.ADMIN in scopes else scopes,
        options.get("name", ""),
        None if models is None else frozenset(models.split(",")),
        _parse_rate(options, place),
    )


def _parse_rate(options: Mapping[str, str], place: str) -> float | None:
    if (text := options.get("rate")) is None:
        return None
    if "name" not in options:
        raise ConfigurationError(f"{place}: rate is {text!r}, but then name must be given, too")
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0.0 < rate < inf:
        raise ConfigurationError(f"{place}: rate is {text!r}, but must be a number > 0")
    return rate


def _parse_scopes(words: list[str], place: str) -> set[Scope]:
    names = [name for word in words for name in word.split(",") if name]
    if unknown := sorted(set(names) - set(Scope)):
        raise ConfigurationError(
            f"{place}: scope is {unknown[0]!r}, but must be one of {_SCOPE_NAMES}"
        )
    if not names:
        raise ConfigurationError(
            f"{place}: the token has no scope, but must have one or more of {_SCOPE_NAMES}"
        )
    return {Scope(name) for name in names}


def _format_scopes(scopes: Iterable[Scope]) -> str:
    return ", ".join(scope for scope in Scope if scope in scopes)


_SCOPE_NAMES = _format_scopes(Scope)


@final
@dataclass(slots=True, kw_only=True)
class Limits:
    """Limits of requests; those that can be configured are named as in the run file's ``[serve]``.

    All must be > 0; sizes are in bytes, those of bodies after decompression.

    >>> Limits(max_body=1000).max_connections
    1000
    """

    max_body: int = 1 << 20  # of JSON; larger requests are sent as lines, processed piece by piece
    lines: int = 64 << 20  # of lines to predict, and of the response; lines to learn are unlimited
    line: int = 1 << 20
    max_model: int = 32 << 20  # of a model file
    # Bodies of lines to predict and model files in memory, each until its response is sent.
    batches: int = 8
    max_connections: int = 1000
    requests: int = 500  # at a time, including event streams
    max_rate: float = 20_000.0  # requests per second of an address; as many at once after a pause
    # Cost of an invalid token, as a fraction of the requests per second: it slows down guessing,
    # and delays others behind the same address by at most a second.
    guess: float = 0.1
    # From a connection's first byte to the end of its headers, and from a response to the end of a
    # body that was not read for it.
    header_seconds: float = 10.0
    body_seconds: float = 15.0  # longest pause between two pieces of a body
    # Bytes per second, on average and after the first `body_seconds`; lines to learn may be slower.
    min_body_rate: float = 500.0
    response_seconds: float = 60.0  # longest wait for a client that stops reading a response

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise ConfigurationError(f"{field.name} is {value}, but must be > 0")

    def replace_with(self, other: Limits) -> None:
        """Apply the values of other limits from now on."""
        for field in fields(self):
            setattr(self, field.name, getattr(other, field.name))


@final
class RateLimiter:
    """A token bucket for each client address; all but the ``most`` recently seen are forgotten.

    The limits' ``max_rate`` applies, also after it changes.

    >>> clock = iter([0.0, 0.0, 0.0, 0.5]).__next__
    >>> rates = RateLimiter(Limits(max_rate=2), clock=clock)
    >>> [rates.take("a") for _ in range(4)]
    [0.0, 0.0, 0.5, 0.0]
    """

    def __init__(
        self, limits: Limits, *, most: int = 10_000, clock: Callable[[], float] = monotonic
    ) -> None:
        self._limits = limits
        self._most = most
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str, cost: float = 1.0) -> float:
        """Take ``cost`` from a client's bucket; returns seconds to wait if it holds too little."""
        now = self._clock()
        rate = self._limits.max_rate
        level, since = self._buckets.pop(client, (rate, now))
        # A debt, perhaps made at a higher rate, is paid back after a second.
        level = max(-rate, min(rate, level + (now - since) * rate))
        wait = 0.0 if level >= min(cost, 1.0) else (min(cost, 1.0) - level) / rate
        self._buckets[client] = (level if wait else level - cost, now)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        return wait
