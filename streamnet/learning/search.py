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


def default_population(candidates: int | None = None) -> list[CandidateSettings]:
    """Settings that between them learn most streams well, the most useful ones first.

    They differ in what a stream may ask for: fast and slow rates, rehearsal for streams that stay
    as they are, none for those that drift, lags for targets that resemble those before them, linear
    models for short streams, and wider or deeper ones for long streams.

    Args:
        candidates: How many; None is all that the list has, 24.

    Raises:
        ConfigurationError: If the number is not from 1 to 512.
    """
    count = len(_START) if candidates is None else candidates
    if not 1 <= count <= 512:
        raise ConfigurationError(f"candidates is {count}, but must be from 1 to 512")
    # Beyond the list: the same again with other start weights and rates in between.
    pace = (1.0, 0.6, 1.6, 0.4, 2.5)
    return [
        replace(start, learning_rate=start.learning_rate * pace[i // len(_START) % len(pace)])
        for i in range(count)
        for start in (_START[i % len(_START)],)
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


def _start(
    activation: str,
    hidden: tuple[int, ...],
    optimiser: str,
    learning_rate: float,
    rehearsal: int = 0,
    *,
    memory: int = 1000,
    lags: bool = False,
) -> CandidateSettings:
    return CandidateSettings(
        hidden=hidden,
        activation=activation,
        optimiser=optimiser,
        learning_rate=learning_rate,
        rehearsal=rehearsal,
        memory=memory,
        lags=lags,
    )


# Found by leaving out, one by one, what the ensemble of 49 candidates missed least on twelve
# streams for the time it took.
_START = (
    _start("tanh", (32,), "rmsprop", 0.01),
    _start("tanh", (64,), "adagrad", 0.1, 4),
    _start("relu", (64,), "rmsprop", 0.003, 4),
    _start("relu", (128,), "adagrad", 0.1, lags=True),
    _start("tanh", (32,), "adagrad", 0.1),
    _start("relu", (128,), "sgd", 0.03, 16, memory=4000),
    _start("relu", (128,), "adam", 0.003),
    _start("tanh", (), "sgd", 0.01),
    _start("relu", (128,), "rmsprop", 0.003, lags=True),
    _start("tanh", (128,), "adam", 0.001, 16, memory=4000),
    _start("tanh", (), "adagrad", 0.1),
    _start("tanh", (64, 32), "adagrad", 0.05, 4),
    _start("tanh", (32,), "sgd", 0.1),
    _start("tanh", (64,), "adagrad", 0.1, 4, lags=True),
    _start("relu", (32,), "adam", 0.01, 2),
    _start("relu", (128,), "sgd", 0.03),
    _start("tanh", (64, 32), "rmsprop", 0.003, lags=True),
    _start("tanh", (32,), "sgd", 0.03),
    _start("relu", (64, 64), "sgd", 0.03, 4),
    _start("tanh", (), "adagrad", 0.1, 4),
    _start("relu", (128,), "adagrad", 0.1),
    _start("relu", (128,), "rmsprop", 0.003),
    _start("tanh", (32,), "rmsprop", 0.01, lags=True),
    _start("relu", (128,), "sgd", 0.03, lags=True),
)
