"""The default population, and the replacements for candidates that diverged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from streamnet.errors import ConfigurationError
from streamnet.selection.decisions import Replacement
from streamnet.settings.candidate import Activation, CandidateSettings, Optimizer, TargetTransform
from streamnet.settings.encoder import has_raw_target

_SLOWER = 1.0 / 3.0
_SLOWEST = 1e-9
_EARLY = 16  # samples that are learned again after each of the first ones


def default_population(
    candidates: int | None = None, *, encoder: Mapping[str, Any] | None = None
) -> list[CandidateSettings]:
    """Settings that between them learn most streams well, the most useful ones first.

    They differ in what a stream may ask for: fast and slow rates, rehearsal for streams that stay
    as they are, none for those that drift, lags for targets that resemble those before them, linear
    models for short streams, wider or deeper ones for long streams, and logarithms for numbers
    whose errors matter in proportion.

    Args:
        candidates: How many; None is all that the list has, 23.
        encoder: Its settings: of numbers that are learned as they are, no logarithm is learned.

    Raises:
        ConfigurationError: If the number is not from 1 to 512.
    """
    count = len(_DEFAULTS) if candidates is None else candidates
    if not 1 <= count <= 512:
        raise ConfigurationError(f"candidates is {count}, but must be from 1 to 512")
    # Beyond the list: the same again with other start weights and rates in between.
    pace = (1.0, 0.6, 1.6, 0.4, 2.5)
    found = [
        replace(start, learning_rate=start.learning_rate * pace[i // len(_DEFAULTS) % len(pace)])
        for i in range(count)
        for start in (_DEFAULTS[i % len(_DEFAULTS)],)
    ]
    return (
        [replace(s, target_transform="none") for s in found] if has_raw_target(encoder) else found
    )


def replace_exploded(dead: Mapping[int, CandidateSettings]) -> tuple[Replacement, ...]:
    """For each exploded candidate a fresh one that learns more slowly and with a bound."""
    return tuple(
        Replacement(
            slot,
            replace(
                settings, learning_rate=max(settings.learning_rate * _SLOWER, _SLOWEST), clip=1.0
            ),
        )
        for slot, settings in sorted(dead.items())
    )


def _default(
    activation: Activation,
    hidden: tuple[int, ...],
    optimizer: Optimizer,
    learning_rate: float,
    rehearsal: int = 0,
    *,
    memory: int = 1000,
    knots: int = 0,
    lags: bool = False,
    huber_delta: float = 1.0,
    target_transform: TargetTransform = "none",
) -> CandidateSettings:
    return CandidateSettings(
        hidden=hidden,
        activation=activation,
        optimizer=optimizer,
        learning_rate=learning_rate,
        rehearsal=rehearsal,
        early_rehearsal=_EARLY if rehearsal else 0,
        memory=memory,
        knots=knots,
        lags=lags,
        huber_delta=huber_delta,
        target_transform=target_transform,
    )


# Found by leaving out, one by one, what the ensemble of 68 candidates missed least for the time it
# took, on the first 4,000 samples of 52 streams; the last two are wider ones, for longer streams.
# Four of them rehearsed twice as often before, for at most .2 points, or 1.5 % of the error, on 13
# whole streams; three more streams had no part in that choice, and did not notice it.
_DEFAULTS = (
    _default("relu", (32,), "adam", 0.01, 2, knots=9),
    _default("tanh", (32,), "adagrad", 0.1),
    _default("tanh", (64,), "adagrad", 0.1, 4),
    _default("relu", (64,), "rmsprop", 0.003, 2, memory=4000, knots=9),
    _default("tanh", (32,), "adagrad", 0.1, 4, memory=4000, knots=9),
    _default("relu", (64,), "sgd", 0.03, 4, memory=4000, knots=9),
    _default("relu", (32,), "adam", 0.01, 2),
    _default("tanh", (), "sgd", 0.01),
    _default("tanh", (), "adam", 0.01, 2, knots=9),
    _default("tanh", (16,), "rmsprop", 0.01, knots=9),
    _default("relu", (64,), "rmsprop", 0.003, 2, huber_delta=0.1),
    _default("tanh", (), "adagrad", 0.1, knots=9, huber_delta=0.1, target_transform="log"),
    _default("relu", (64,), "adam", 0.003, 2, knots=9, huber_delta=0.1),
    _default("relu", (128,), "sgd", 0.03, knots=9, lags=True),
    _default("tanh", (32,), "rmsprop", 0.01),
    _default("tanh", (), "adagrad", 0.1, 2, knots=9),
    _default("relu", (64,), "adagrad", 0.1, 4, memory=4000, knots=9),
    _default("tanh", (32,), "adam", 0.01, knots=9, lags=True),
    _default("tanh", (), "adagrad", 0.1, knots=9, lags=True),
    _default("tanh", (32,), "rmsprop", 0.01, knots=9, lags=True),
    _default("tanh", (), "sgd", 0.01, knots=9),
    _default("relu", (128,), "rmsprop", 0.003, knots=9, lags=True),
    _default("relu", (128,), "adagrad", 0.1, knots=9, lags=True),
)
