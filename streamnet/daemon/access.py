"""Who may do what: tokens with scopes, compared in constant time."""

from __future__ import annotations

import hmac
import os
import stat
from collections.abc import Iterable
from collections.abc import Mapping
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import final

from streamnet.errors import ConfigurationError

__all__ = ("TOKEN_VARIABLE", "Access", "Scope")

TOKEN_VARIABLE = "STREAMNET_TOKEN"  # noqa: S105 - the name of a variable
_SHORTEST = 16  # characters of a token: less could be guessed
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
            if len(token) < _SHORTEST:
                raise ConfigurationError(
                    f"a token is {len(token)} long, but must be >= {_SHORTEST}"
                )
            if not scopes:
                raise ConfigurationError("a token has no scope, but must have one or more")
            every = frozenset(Scope) if Scope.ADMIN in scopes else frozenset(scopes)
            self._scopes.append((_hashed(token.encode()), every))

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
        tokens = {} if path is None else _tokens_of(Path(path))
        # Beside a file the variable must be named: clients keep their own token in the usual one.
        usual = TOKEN_VARIABLE if path is None else ""
        if token := os.environ.get(variable or usual, ""):
            if Scope.ADMIN not in tokens.setdefault(token, {Scope.ADMIN}):
                raise ConfigurationError(
                    f"the token in ${variable} may do everything, but token_file {path} gives it "
                    f"{_listed(tokens[token])} alone: name it in one of the two"
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
        sent = _hashed(authorization[len(_BEARER) :].strip())
        found: frozenset[Scope] = frozenset()
        # All are compared, so that the time tells nothing about which one came close.
        for known, scopes in self._scopes:
            if hmac.compare_digest(known, sent):
                found = scopes
        return found


def _hashed(token: bytes) -> bytes:
    return sha256(token).digest()


def _tokens_of(path: Path) -> dict[str, set[Scope]]:
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
        if (length := len(words[0])) < _SHORTEST:
            rule = f"must be >= {_SHORTEST}"
            raise ConfigurationError(f"{path}:{number}: the token is {length} long, but {rule}")
        scopes = _scopes_of(words[1:], f"{path}:{number}")
        before = tokens.setdefault(words[0], scopes)
        if before != scopes:
            raise ConfigurationError(
                f"{path}:{number}: the token has {_listed(scopes)}, but {_listed(before)} in a line"
                " above"
            )
    if not tokens:
        raise ConfigurationError(f"token_file {path} has no token in it")
    return tokens


def _scopes_of(words: list[str], place: str) -> set[Scope]:
    names = [name for word in words for name in word.split(",") if name]
    known = {str(scope) for scope in Scope}
    if unknown := sorted(set(names) - known):
        raise ConfigurationError(f"{place}: scope is {unknown[0]!r}, but must be one of {_NAMES}")
    if not names:
        raise ConfigurationError(f"{place}: the token has no scope; they are {_NAMES}")
    return {Scope(name) for name in names}


def _listed(scopes: Iterable[Scope]) -> str:
    return ", ".join(scope for scope in Scope if scope in scopes)


_NAMES = _listed(Scope)
