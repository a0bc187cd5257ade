"""EncoderSettings and AutoEncoderSettings: how columns become inputs of the networks."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, final

from annotated_types import Ge, Gt, Le, Lt, MaxLen

from streamnet.errors import ConfigurationError
from streamnet.settings.fields import Check, DType, Listed, Positive, Seed, Settings, Texts, declare

AutoEncoderActivation = Literal["tanh", "relu", "identity"]
ScalingName = Literal["standard", "minmax", "robust", "rank", "none"]
TextModeName = Literal["words", "tokens", "ngrams", "dictionary", "auto"]


@final
class Scaling(StrEnum):
    """How a number becomes an input, given all numbers up to and including itself.

    ``STANDARD``: distance from the mean in standard deviations. ``MINMAX``: position between the
    minimum (-1) and the maximum (1). ``ROBUST``: distance from the median in interquartile ranges
    divided by 1.349, so that it equals ``STANDARD`` for normally distributed numbers. ``RANK``:
    fraction of smaller numbers, counting half of the equal ones, from -1 to 1. The last two use a
    bounded summary of the numbers (`streamnet.features.columns.number`). ``NONE``: the number
    itself.
    """

    STANDARD = "standard"
    MINMAX = "minmax"
    ROBUST = "robust"
    RANK = "rank"
    NONE = "none"


@final
class TextMode(StrEnum):
    """How a text becomes active inputs.

    ``WORDS``: hashed words and pairs of neighboring words. ``TOKENS``: words and punctuation from a
    vocabulary that fills in order of appearance. ``NGRAMS``: hashed sequences of three characters.
    ``DICTIONARY``: the whole text is one value of a vocabulary, like a category.
    """

    WORDS = "words"
    TOKENS = "tokens"
    NGRAMS = "ngrams"
    DICTIONARY = "dictionary"


AUTO = "auto"


@declare
class AutoEncoderSettings(Settings):
    """Settings of a denoising auto-encoder, whose decoder mirrors its encoder.

    Args:
        code: Units of the code, to which the auto-encoder compresses all inputs.
        hidden: Units of the layers between inputs and code, the widest first; the decoder has the
            same in reverse. A layer of 32 finds outliers better than none, in twice the time.
        noise: Probability that an input is masked while the network learns to restore it; 0 makes a
            plain auto-encoder.
        activation: Activation of all layers but the last: tanh, relu or identity, which makes a
            linear code like that of principal components.
        optimizer: Optimizer.
        learning_rate: Step size.
        negatives: Inactive inputs to learn from, for each active category, word or column.
        fading: Fading factor of the error statistics that a sample's error is compared with.
        inputs: Whether candidates get the code before all other inputs, or instead of them.
        dtype: Data type of the weights.
        seed: Seed of initial weights, noise and negatives.

    >>> AutoEncoderSettings(code=8, hidden=[32]).layers
    (32, 8, 32)
    >>> AutoEncoderSettings(noise=1.0)
    Traceback (most recent call last):
    streamnet.errors.ConfigurationError: noise is 1.0, but must be < 1
    """

    code: Annotated[int, Ge(1), Le(1024)] = 16
    hidden: Annotated[tuple[Annotated[int, Ge(1), Le(1024)], ...], MaxLen(4), Listed()] = ()
    noise: Annotated[float, Ge(0), Lt(1)] = 0.1
    activation: AutoEncoderActivation = "tanh"
    optimizer: Literal["adagrad", "rmsprop"] = "adagrad"
    learning_rate: Positive = 0.1
    negatives: Annotated[int, Ge(1), Le(100)] = 5
    fading: Annotated[float, Gt(0), Le(1)] = 0.999
    inputs: Literal["add", "replace"] = "add"
    dtype: DType = "float32"
    seed: Seed = 0

    @property
    def layers(self) -> tuple[int, ...]:
        """Units of all layers between inputs and reconstruction; the code is in the middle."""
        return (*self.hidden, self.code, *reversed(self.hidden))


def check_classes(given: tuple[str, ...]) -> tuple[str, ...]:
    """Reject declared labels that are too few, or not distinct.

    >>> check_classes(("up", "down", "up"))
    Traceback (most recent call last):
    streamnet.errors.ConfigurationError: classes has 'up' twice, but each label must be there once
    """
    for label in given:
        if given.count(label) > 1:
            raise ConfigurationError(
                f"classes has {label!r} twice, but each label must be there once"
            )
    if len(given) == 1:
        raise ConfigurationError(f"classes is {list(given)}, but must list at least two labels")
    return given


@declare
class EncoderSettings(Settings):
    """How columns become inputs of the networks.

    Args:
        scaling: How numbers are scaled, by all values so far. See `Scaling`. With none they are
            neither clipped nor rounded to float32, except numbered inputs of libSVM files. Dates
            and measures of texts are always standardized, and numbered inputs divided by their root
            mean square.
        scalings: Scaling of single columns, by name.
        text: What is extracted from texts; auto decides by the first 100. See `TextMode`. Until
            auto has decided, words are extracted.
        texts: Text mode of single columns, by name.
        duplicates: Whether columns are kept that repeat others in other units. Dropped ones are 0.
        target_scaling: Whether networks learn numbers in standard units or as they are.
        clip: Bound of every standardized input and target.
        max_rows: Input rows for categories and words; later ones share rows by hash.
        category_limit: Distinct values up to which a number is also a category. Integers are from
            the third value on; more than 64 only if they are at most 5 % of those in their range.
            These, and up to 12 fractions, are categories once each came twice on average.
        max_categories: Distinct values of a category; later ones share 256 hashed rows.
        text_buckets: Hash buckets for the words of each text column.
        max_words: Distinct words and pairs of words that count in a text.
        text_digits: Digits up to which the value of a number in a text counts; of longer ones only
            the length does. The modes tokens and ngrams read all digits.
        max_classes: Largest number of labels; samples with a later one are rejected.
        classes: All labels there are; samples with another one are rejected. By default labels
            become known with their first sample.
        autoencoder: Settings of an auto-encoder whose code becomes inputs, see
            `AutoEncoderSettings`; None for none.
    """

    scaling: ScalingName = "standard"
    scalings: Mapping[str, ScalingName] | None = None
    text: TextModeName = "words"
    texts: Mapping[str, TextModeName] | None = None
    duplicates: Literal["keep", "drop"] = "keep"
    target_scaling: Literal["standard", "none"] = "standard"
    clip: Annotated[float, Ge(1), Le(1000000.0)] = 8.0
    max_rows: Annotated[int, Ge(1), Le(1 << 24)] = 8192
    category_limit: Annotated[int, Ge(0), Le(1024)] = 256
    max_categories: Annotated[int, Ge(0), Le(1 << 20)] = 1000
    text_buckets: Annotated[int, Ge(2), Le(1 << 24)] = 4096
    max_words: Annotated[int, Ge(1), Le(1024)] = 256
    text_digits: Annotated[int, Ge(0), Le(32)] = 4
    max_classes: Annotated[int, Ge(2), Le(1 << 16)] = 1000
    classes: Annotated[Texts, Check(check_classes)] = ()
    autoencoder: AutoEncoderSettings | None = None


def has_raw_target(settings: Mapping[str, Any] | None) -> bool:
    """Whether an encoder with these settings leaves numeric targets unscaled."""
    return (settings or {}).get("target_scaling") == "none"
