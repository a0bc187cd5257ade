"""Search: which candidates there are at the start, and what comes after one that exploded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from streamnet.errors import ConfigurationError
from streamnet.learning.trainer import Replacement
from streamnet.networks.candidate import CandidateSettings

__all__ = ("default_population", "replacements_of")

_SLOWER = 1.0 / 3.0
_SLOWEST = 1e-9


def default_population(candidates: int = 16) -> list[CandidateSettings]:
    """Settings that between them learn most streams well, the most useful ones first.

    Raises:
        ConfigurationError: If the number is not from 1 to 512.
    """
    if not 1 <= candidates <= 512:
        raise ConfigurationError(f"candidates is {candidates}, but must be from 1 to 512")
    base = [
        CandidateSettings(
            hidden=hidden,
            activation=activation,
            optimiser=optimiser,
            learning_rate=learning_rate,
            rehearsal=rehearsal,
        )
        for activation, hidden, optimiser, learning_rate, rehearsal in _START
    ]
    # Beyond the list: the same again with other start weights and rates in between.
    pace = (1.0, 0.6, 1.6, 0.4, 2.5)
    return [
        replace(base[i % len(base)], learning_rate=base[i % len(base)].learning_rate * factor)
        for i in range(candidates)
        for factor in (pace[i // len(base) % len(pace)],)
    ]


def replacements_of(dead: Mapping[int, CandidateSettings]) -> tuple[Replacement, ...]:
    """For each exploded candidate a fresh one that learns more slowly and with a bound."""
    return tuple(
        Replacement(
            slot,
            replace(
                settings,
                learning_rate=max(settings.learning_rate * _SLOWER, _SLOWEST),
                clip=1.0,
            ),
        )
        for slot, settings in sorted(dead.items())
    )


_START: tuple[tuple[str, tuple[int, ...], str, float, int], ...] = (
    ("tanh", (32,), "rmsprop", 0.01, 0),
    ("tanh", (64,), "adagrad", 0.1, 4),
    ("tanh", (32,), "adagrad", 0.1, 0),
    ("relu", (128,), "rmsprop", 0.003, 0),
    ("relu", (64,), "rmsprop", 0.003, 4),
    ("relu", (128,), "adagrad", 0.1, 0),
    ("tanh", (32,), "sgd", 0.1, 0),
    ("relu", (128,), "adagrad", 0.03, 0),
    ("tanh", (32,), "rmsprop", 0.003, 0),
    ("relu", (128,), "rmsprop", 0.01, 0),
    ("tanh", (32,), "adagrad", 0.03, 0),
    ("relu", (128,), "sgd", 0.03, 0),
    ("tanh", (), "adagrad", 0.1, 0),
    ("tanh", (), "sgd", 0.01, 0),
    ("tanh", (32,), "sgd", 0.03, 0),
    ("tanh", (32,), "sgd", 0.3, 0),
)
