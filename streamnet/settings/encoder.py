"""Settings of an encoder: ranges, choices and their validation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, final

from streamnet.errors import ConfigurationError
from streamnet.validation import check_number

__all__ = (
    "AUTO",
    "CHOICES",
    "RANGES",
    "SINCE",
    "EncoderSettings",
    "Scaling",
    "TextMode",
    "has_raw_target",
    "validate_choices",
    "validate_ranges",
)


@final
class Scaling(StrEnum):
    """How a number becomes an input; all that it is compared with are the numbers up to itself.

    ``STANDARD`` is its distance from the mean in standard deviations. ``MINMAX`` is its place
    between the least (-1) and the greatest (1). ``ROBUST`` is its distance from the median in
    interquartile ranges, these divided by 1.349, so that of normal numbers it is the standard one.
    ``RANK`` is the share of numbers below it, half of its equals counted, from -1 to 1. Both read a
    bounded summary of the numbers (`streamnet.features.columns.number`). ``NONE`` is the number itself.
    """

    STANDARD = "standard"
    MINMAX = "minmax"
    ROBUST = "robust"
    RANK = "rank"
    NONE = "none"


@final
class TextMode(StrEnum):
    """How a text becomes active inputs.

    ``WORDS``: hashed words and pairs of neighbours. ``TOKENS``: words and signs from a vocabulary
    that fills in order of appearance. ``NGRAMS``: hashed runs of three characters. ``DICTIONARY``:
    the whole text is one value of a vocabulary, as of a category.
    """

    WORDS = "words"
    TOKENS = "tokens"
    NGRAMS = "ngrams"
    DICTIONARY = "dictionary"


AUTO = "auto"


@final
@dataclass(frozen=True)
class EncoderSettings:
    """Validated settings of the inputs."""

    clip: float = 8.0
    max_rows: int = 8192
    category_limit: int = 64
    max_categories: int = 1000
    text_buckets: int = 4096
    max_words: int = 256
    text_digits: int = 4
    scaling: str = "standard"
    scalings: Mapping[str, str] | None = None
    text: str = "words"
    texts: Mapping[str, str] | None = None
    duplicates: str = "keep"


# The least and the greatest value of each setting.
RANGES = {
    "clip": (1.0, 1e6),
    "max_rows": (1, 1 << 24),
    "category_limit": (0, 1024),
    "max_categories": (0, 1 << 20),
    "text_buckets": (2, 1 << 24),
    "max_words": (1, 1024),
    "text_digits": (0, 32),
    "max_classes": (2, 1 << 16),
    "lags": (0, 16),
}

# What settings may be besides numbers, their default first. A state names only those that differ
# from it, so that earlier releases can read all others.
CHOICES = {
    "scaling": tuple(Scaling),
    "text": (*TextMode, AUTO),
    "duplicates": ("keep", "drop"),
    "target_scaling": ("standard", "none"),
}
# Settings that states of earlier releases lack, and their defaults: whoever goes on from such a
# state by defaults goes on as it was.
SINCE = {"text_digits": 4}
BY_FIELD = {"scalings": "scaling", "texts": "text"}


def validate_ranges(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that have a range, as Python's own numbers.

    Raises:
        ConfigurationError: a setting is out of its range.
    """
    found = {}
    for name in (name for name in RANGES if name in settings):
        value, (least, greatest) = check_number(name, settings[name]), RANGES[name]
        if not least <= value <= greatest:
            raise ConfigurationError(
                f"{name} is {value}, but must be from {least:g} to {greatest:g}"
            )
        if name != "clip" and value != int(value):
            raise ConfigurationError(f"{name} is {value}, but must be a whole number")
        found[name] = value if name == "clip" else int(value)
    return found


def validate_choices(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The choices that are not the default, as JSON can hold them.

    Raises:
        ConfigurationError: a choice is none of those there are.
    """
    found: dict[str, Any] = {}
    for name, choices in CHOICES.items():
        _check_choice(name, settings[name], choices)
        if settings[name] != choices[0]:
            found[name] = str(settings[name])
    for name, single in BY_FIELD.items():
        by_field = {} if settings[name] is None else settings[name]
        if not isinstance(by_field, Mapping):
            raise ConfigurationError(f"{name} is {by_field!r}, but must be a dict by field's name")
        for field, value in by_field.items():
            _check_choice(f"{single} of {field!r}", value, CHOICES[single])
        if by_field:
            found[name] = {field: str(value) for field, value in by_field.items()}
    return found


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        names = ", ".join(choices)
        raise ConfigurationError(f"{name} is {value!r}, but must be one of {names}")


def has_raw_target(settings: Mapping[str, Any] | None) -> bool:
    """Whether an encoder of such settings leaves numbers to predict as they are."""
    return (settings or {}).get("target_scaling") == "none"
