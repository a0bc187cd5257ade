"""Candidates of an engine: every try with every rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from typing import final

from streamnet.errors import ConfigurationError
from streamnet.networks.candidate import CandidateSettings

__all__ = ("MOST_CANDIDATES", "Contestant", "contestants_of", "falling_contestants_of", "scheduled")

MOST_CANDIDATES = 10_000


@final
@dataclass(frozen=True)
class Contestant:
    """A candidate, and from which start weights it sets out.

    >>> Contestant(CandidateSettings(hidden=(8,), optimiser="sgd"), 2).describe()
    'try 3: tanh 8, sgd 0.01'
    """

    settings: CandidateSettings
    attempt: int  # number of the try: equal ones have equal start weights

    def describe(self) -> str:
        """A few words for a leader board."""
        return f"try {self.attempt + 1}: {self.settings.describe()}"


def contestants_of(
    template: CandidateSettings, rates: Sequence[float], tries: int
) -> list[Contestant]:
    """Each try with each rate: the tries start anew, the rates of a try from the same weights.

    Raises:
        ConfigurationError: If there is no try, or there are too many candidates.
    """
    if tries < 1:
        raise ConfigurationError(f"tries is {tries}, but must be >= 1")
    if tries * len(rates) > MOST_CANDIDATES:
        raise ConfigurationError(
            f"tries is {tries} with {len(rates):,} rates each, but must make <= "
            f"{MOST_CANDIDATES:,} candidates"
        )
    return [
        Contestant(replace(template, learning_rate=rate), attempt)
        for attempt in range(tries)
        for rate in rates
    ]


def falling_contestants_of(
    template: CandidateSettings, rates: Sequence[float], tries: int, steps: int
) -> list[Contestant]:
    """Each try once: its rate falls from the first to the last of ``rates``, which are even steps.

    Args:
        template: Everything but rate and schedule.
        rates: As `rates_of` gives them.
        tries: How many.
        steps: Samples that are learned at each rate.
    """
    decay = rates[0] - rates[1] if len(rates) > 1 else 0.0
    batches = max(1, steps // template.batch_size)
    falling = replace(template, schedule="linear", decay=decay, decay_steps=batches)
    return contestants_of(falling, rates[:1], tries)


def scheduled(settings: CandidateSettings, half_life: float, samples: int) -> CandidateSettings:
    """The settings with a rate that is halved after ``half_life`` epochs, a third after two, ...

    Args:
        settings: Of a candidate.
        half_life: In epochs; 0 leaves the rate as it is.
        samples: Of an epoch.

    >>> scheduled(CandidateSettings(), 5, 200).decay
    0.001
    """
    if not half_life:
        return settings
    steps = half_life * samples / settings.batch_size
    return replace(settings, schedule="inverse", decay=1.0 / steps)
