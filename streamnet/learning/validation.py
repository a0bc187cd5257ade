"""Validation of keyword settings: errors for unknown names list the known ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from inspect import Parameter, signature
from typing import Any

from streamnet.errors import ConfigurationError
from streamnet.features.encoder import Encoder
from streamnet.selection.search.evolution import Evolution
from streamnet.settings.candidate import CandidateSettings

__all__ = ("check_candidates", "check_part", "check_settings")

# Parts of a learner, with what they are told besides their settings.
_PARTS: dict[str, tuple[type, tuple[str, ...]]] = {
    "encoder": (Encoder, ("task",)),
    "evolution": (Evolution, ("start", "seed", "balanced")),
}
_NAMED = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)


def check_settings(given: Mapping[str, Any], *owners: type) -> None:
    """Refuse what is no setting of any of these classes, and what their parts don't have.

    Args:
        given: Values by name.
        owners: Classes whose constructors take settings, the one that the user sees first.

    Raises:
        ConfigurationError: Naming the first that is unknown, and all that are known.

    >>> check_settings({"sed": 1}, CandidateSettings)
    Traceback (most recent call last):
        ...
    streamnet.errors.ConfigurationError: sed is not a known setting of CandidateSettings; known are
    activation, ...
    """
    _check(given, owners, ("task",), f" of {owners[0].__name__}")
    for name in _PARTS:
        check_part(name, given.get(name))


def check_part(name: str, given: object, *besides: str) -> None:
    """Refuse what is no setting of a learner's encoder or evolution; None is fine.

    Args:
        name: Of the part.
        given: Its settings by name.
        besides: Settings that are not for the user to say here.

    Raises:
        ConfigurationError: If it is no mapping; or naming the first unknown one, and all known.

    >>> check_part("encoder", {"clips": 3})
    Traceback (most recent call last):
        ...
    streamnet.errors.ConfigurationError: encoder.clips is not a known setting; known are
    autoencoder, ...
    """
    if given is None:
        return
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"{name} is {given!r}, but must be a dict of settings by name")
    part, inner = _PARTS[name]
    _check(given, (part,), (*inner, *besides), within=f"{name}.")
    coding = given.get("autoencoder")
    if coding is not None and not isinstance(coding, Mapping):
        raise ConfigurationError(
            f"{name}.autoencoder is {coding!r}, but must be a dict of settings by name"
        )


def check_candidates(given: Any) -> tuple[CandidateSettings, ...] | None:
    """Settings of each candidate; None stays so.

    Raises:
        ConfigurationError: If they are something else, such as their number.
    """
    if given is None:
        return None
    found: tuple[Any, ...] = tuple(given) if isinstance(given, Iterable) else (given,)
    for settings in found:
        if not isinstance(settings, CandidateSettings):
            raise ConfigurationError(
                f"candidates has {settings!r}, but must be a list of CandidateSettings"
            )
    return found


def _check(
    given: Mapping[str, Any],
    owners: Sequence[type],
    besides: Sequence[str],
    of: str = "",
    within: str = "",
) -> None:
    known = {
        name
        for owner in owners
        for name, parameter in signature(owner).parameters.items()
        if parameter.kind in _NAMED and name not in besides
    }
    for name in given:
        if name not in known:
            raise ConfigurationError(
                f"{within}{name} is not a known setting{of}; known are {', '.join(sorted(known))}"
            )
