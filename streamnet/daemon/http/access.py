"""Access control: tokens with scopes, limits and rate limiting per client."""

from __future__ import annotations

import hmac
import os
import stat
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import final

from streamnet.errors import ConfigurationError

__all__ = (
    "TOKEN_VARIABLE",
    "Access",
    "Limits",
    "RateLimiter",
    "Scope",
)


TOKEN_VARIABLE = "STREAMNET_TOKEN"  # noqa: S105 - the name of a variable
_MIN_TOKEN_LENGTH = 16  # characters of a token: less could be guessed
_BEARER = b"bearer "


class Scope(StrEnum):
    """What a token allows; admin allows all."""

    READ = "read"
    PREDICT = "predict"
    LEARN = "learn"
    ADMIN = "admin"


@final
class Access:
    """The tokens that are known, as hashes, each with its scopes.

    Args:
        tokens: Scopes by token. None lets everybody do everything, which only loopback may offer.

    Raises:
        ConfigurationError: If a token is too short or has no scope.

    >>> access = Access({"0123456789abcdef": {Scope.READ}})
    >>> access.allows(b"Bearer 0123456789abcdef", Scope.READ)
    True
    >>> access.allows(b"Bearer 0123456789abcdef", Scope.LEARN)
    False
    >>> access.knows(b"Bearer wrong")
    False
    """

    def __init__(self, tokens: Mapping[str, set[Scope]] | None = None) -> None:
        self.is_open = tokens is None
        self._scopes: list[tuple[bytes, frozenset[Scope]]] = []
        for token, scopes in (tokens or {}).items():
            if len(token) < _MIN_TOKEN_LENGTH:
                raise ConfigurationError(
                    f"a token is {len(token)} long, but must be >= {_MIN_TOKEN_LENGTH}"
                )
            if not scopes:
                raise ConfigurationError("a token has no scope, but must have one or more")
            every = frozenset(Scope) if Scope.ADMIN in scopes else frozenset(scopes)
            self._scopes.append((_hash_token(token.encode()), every))

    @classmethod
    def read(cls, path: str | os.PathLike[str] | None, variable: str | None = None) -> Access:
        """The tokens of a file and of an environment variable; open if neither is there.

        A line of the file is a token and its scopes, as in ``s3cr3t-s3cr3t-s3cr3t read,predict``;
        empty lines and lines that begin with # say nothing. The variable's token may do everything;
        without a file it is ``STREAMNET_TOKEN`` unless another is named.

        Raises:
            ConfigurationError: If the file can't be read, is readable by others, has a line that is
                not understood, or gives a token other scopes than another line or the variable
                does; the message shows no token.
        """
        tokens = {} if path is None else _read_tokens(Path(path))
        # Beside a file the variable must be named: clients keep their own token in the usual one.
        usual = TOKEN_VARIABLE if path is None else ""
        if token := os.environ.get(variable or usual, ""):
            if Scope.ADMIN not in tokens.setdefault(token, {Scope.ADMIN}):
                raise ConfigurationError(
                    f"the token in ${variable} may do everything, but token_file {path} gives it "
                    f"{_format_scopes(tokens[token])} alone: name it in one of the two"
                )
        elif variable is not None:
            raise ConfigurationError(f"token_env is {variable!r}, but no such variable is set")
        return cls(tokens or None)

    def take_over(self, other: Access) -> None:
        """Know the tokens of another one from now on, and no longer those of before."""
        self._scopes, self.is_open = other._scopes, other.is_open

    def knows(self, authorization: bytes | None) -> bool:
        """Whether the header's token is one of ours."""
        return self.is_open or bool(self._scopes_of(authorization))

    def allows(self, authorization: bytes | None, scope: Scope) -> bool:
        """Whether the header's token has a scope."""
        return self.is_open or scope in self._scopes_of(authorization)

    def _scopes_of(self, authorization: bytes | None) -> frozenset[Scope]:
        if authorization is None or authorization[: len(_BEARER)].lower() != _BEARER:
            return frozenset()
        sent = _hash_token(authorization[len(_BEARER) :].strip())
        found: frozenset[Scope] = frozenset()
        # All are compared, so that the time tells nothing about which one came close.
        for known, scopes in self._scopes:
            if hmac.compare_digest(known, sent):
                found = scopes
        return found


def _hash_token(token: bytes) -> bytes:
    return sha256(token).digest()


def _read_tokens(path: Path) -> dict[str, set[Scope]]:
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigurationError(f"token_file {path} can't be read: {reason}") from error
    if mode & (stat.S_IRWXG & ~stat.S_IRGRP | stat.S_IRWXO):
        raise ConfigurationError(
            f"token_file {path} has mode {stat.S_IMODE(mode):o}, but must be closed to others (640)"
        )
    tokens: dict[str, set[Scope]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not (words := line.split()) or words[0].startswith("#"):
            continue
        if (length := len(words[0])) < _MIN_TOKEN_LENGTH:
            rule = f"must be >= {_MIN_TOKEN_LENGTH}"
            raise ConfigurationError(f"{path}:{number}: the token is {length} long, but {rule}")
        scopes = _scopes_of(words[1:], f"{path}:{number}")
        before = tokens.setdefault(words[0], scopes)
        if before != scopes:
            raise ConfigurationError(
                f"{path}:{number}: the token has {_format_scopes(scopes)}, but {_format_scopes(before)} in a line"
                " above"
            )
    if not tokens:
        raise ConfigurationError(f"token_file {path} has no token in it")
    return tokens


def _scopes_of(words: list[str], place: str) -> set[Scope]:
    names = [name for word in words for name in word.split(",") if name]
    known = {str(scope) for scope in Scope}
    if unknown := sorted(set(names) - known):
        raise ConfigurationError(
            f"{place}: scope is {unknown[0]!r}, but must be one of {_SCOPE_NAMES}"
        )
    if not names:
        raise ConfigurationError(f"{place}: the token has no scope; they are {_SCOPE_NAMES}")
    return {Scope(name) for name in names}


def _format_scopes(scopes: Iterable[Scope]) -> str:
    return ", ".join(scope for scope in Scope if scope in scopes)


_SCOPE_NAMES = _format_scopes(Scope)


@final
@dataclass(slots=True, kw_only=True)
class Limits:
    """What a daemon lets itself be asked.

    Args:
        body: Largest JSON body in bytes, after decompression; what is larger goes as lines, which
            are read piece by piece and hold up nobody.
        lines: Largest body of lines to answer, in bytes, after decompression, and largest answer;
            lines to learn may go on for ever.
        line: Largest line in bytes.
        model: Largest model file in bytes, after decompression.
        batches: Most bodies of lines to answer, until they are answered and that is sent, and model
            files, in memory at a time.
        connections: Most open connections.
        requests: Most requests at work at a time, event streams included.
        rate: Most requests a second of one client address, with as many at once after a rest.
        guess: What a wrong token costs, as a share of the requests of a second: it slows down who
            guesses, and holds up for no more than a second who shares the address.
        header_seconds: Longest time from a connection's first byte to the end of its headers, and
            from an answer to the end of a body that was not read for it.
        body_seconds: Longest pause between two pieces of a body.
        body_rate: Least bytes a second of a body on the whole, with ``body_seconds`` on top; lines
            to learn may come as slowly as they like.
        answer_seconds: Longest wait for a reader who takes no more of an answer.

    Raises:
        ConfigurationError: If one is not > 0.

    >>> Limits(body=1000).connections
    1000
    """

    body: int = 1 << 20
    lines: int = 64 << 20
    line: int = 1 << 20
    model: int = 32 << 20
    batches: int = 8
    connections: int = 1000
    requests: int = 500
    rate: float = 20_000.0
    guess: float = 0.1
    header_seconds: float = 10.0
    body_seconds: float = 15.0
    body_rate: float = 500.0
    answer_seconds: float = 60.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise ConfigurationError(f"{field.name} is {value}, but must be > 0")

    def take_over(self, other: Limits) -> None:
        """Be as another one from now on."""
        for field in fields(self):
            setattr(self, field.name, getattr(other, field.name))


@final
class RateLimiter:
    """A bucket of tokens for each client address, refilled as time goes on.

    The least recently seen address is forgotten where there are too many. The rate may be that of
    limits, which may change.

    >>> clock = iter([0.0, 0.0, 0.0, 0.5]).__next__
    >>> rates = RateLimiter(2, clock=clock)
    >>> [rates.take("a") for _ in range(4)]
    [0.0, 0.0, 0.5, 0.0]
    """

    def __init__(
        self, rate: float | Limits, *, most: int = 10_000, clock: Callable[[], float] = monotonic
    ) -> None:
        self._limits = rate if isinstance(rate, Limits) else Limits(rate=rate)
        self._most = most
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str, cost: float = 1.0) -> float:
        """Take ``cost`` from the client's bucket; the seconds to wait if there is too little."""
        now = self._clock()
        rate = self._limits.rate
        level, since = self._buckets.pop(client, (rate, now))
        # Whatever was taken, perhaps at a higher rate, is filled up again after a second.
        level = max(-rate, min(rate, level + (now - since) * rate))
        wait = 0.0 if level >= min(cost, 1.0) else (min(cost, 1.0) - level) / rate
        self._buckets[client] = (level if wait else level - cost, now)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        return wait
