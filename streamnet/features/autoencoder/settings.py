"""Settings of an auto-encoder, and the rules that they obey."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import fields
from math import isfinite
from numbers import Integral
from typing import Any
from typing import final

from streamnet.checked import real
from streamnet.checked import whole
from streamnet.errors import ConfigurationError
from streamnet.randomness import seed_of

__all__ = ("ACTIVATIONS", "AutoEncoderSettings")

ACTIVATIONS = ("tanh", "relu", "identity")
OPTIMISERS = ("adagrad", "rmsprop")
USES = ("add", "replace")
DTYPES = ("float32", "float64")
MOST_UNITS = 1024
MOST_LAYERS = 4
MOST_NEGATIVES = 100


@final
@dataclass(frozen=True)
class AutoEncoderSettings:
    """What an auto-encoder is like; its decoder mirrors its encoder.

    Args:
        code: units of the code.
        hidden: units of the layers between inputs and code, the widest first; the same layers
            lead back from the code to the inputs. One of 32 finds outliers better than none, for
            twice the time.
        noise: probability that an input is hidden while the network learns to restore it; 0 makes
            it a plain auto-encoder.
        activation: "tanh", "relu" or "identity" (a linear code, as of principal components), of
            all layers but the last.
        optimiser: "adagrad" or "rmsprop".
        learning_rate: of its steps.
        negatives: rows that are not active to learn from, for each one that is.
        fading: factor of all earlier samples in what an error is compared with.
        inputs: "add" gives candidates the code before all other inputs, "replace" in their place.
        dtype: float32 or float64, of the weights.
        seed: key of start weights, noise and negatives.

    Raises:
        ConfigurationError: a setting breaks its rule.

    >>> AutoEncoderSettings(code=8, hidden=[32]).layers
    (32, 8, 32)
    >>> AutoEncoderSettings(noise=1.0)
    Traceback (most recent call last):
    streamnet.errors.ConfigurationError: noise is 1.0, but must be >= 0 and < 1
    """

    code: int = 16
    hidden: tuple[int, ...] = ()
    noise: float = 0.1
    activation: str = "tanh"
    optimiser: str = "adagrad"
    learning_rate: float = 0.1
    negatives: int = 5
    fading: float = 0.999
    inputs: str = "add"
    dtype: str = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        hidden: Any = self.hidden
        if isinstance(hidden, Integral):
            rule = f"must be the units of each layer, as in ({hidden},)"
            raise ConfigurationError(f"hidden is {hidden}, but {rule}")
        layers = tuple(_whole("hidden", units, 1, MOST_UNITS) for units in hidden)
        object.__setattr__(self, "hidden", layers)
        object.__setattr__(self, "code", _whole("code", self.code, 1, MOST_UNITS))
        if len(self.hidden) > MOST_LAYERS:
            raise ConfigurationError(
                f"hidden has {len(self.hidden)} layers, but must have <= {MOST_LAYERS}"
            )
        negatives = _whole("negatives", self.negatives, 1, MOST_NEGATIVES)
        object.__setattr__(self, "negatives", negatives)
        object.__setattr__(self, "seed", seed_of(self.seed))
        for name in ("noise", "learning_rate", "fading"):
            object.__setattr__(self, name, real(name, getattr(self, name)))
        if not 0.0 <= self.noise < 1.0:
            raise ConfigurationError(f"noise is {self.noise}, but must be >= 0 and < 1")
        if not (self.learning_rate > 0.0 and isfinite(self.learning_rate)):
            raise ConfigurationError(f"learning_rate is {self.learning_rate}, but must be > 0")
        if not 0.0 < self.fading <= 1.0:
            raise ConfigurationError(f"fading is {self.fading}, but must be > 0 and <= 1")
        _one_of("activation", self.activation, ACTIVATIONS)
        _one_of("optimiser", self.optimiser, OPTIMISERS)
        _one_of("inputs", self.inputs, USES)
        _one_of("dtype", self.dtype, DTYPES)

    @property
    def layers(self) -> tuple[int, ...]:
        """Units of all layers between inputs and reconstruction; the code is in the middle."""
        return (*self.hidden, self.code, *reversed(self.hidden))

    def as_dict(self) -> dict[str, Any]:
        """The settings as JSON can hold them."""
        return {**asdict(self), "hidden": list(self.hidden)}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> AutoEncoderSettings:
        """Settings of which some are given by name.

        Raises:
            ConfigurationError: a name is unknown, or a setting breaks its rule.
        """
        known = [field.name for field in fields(cls)]
        for name in given:
            if name not in known:
                raise ConfigurationError(
                    f"autoencoder has a key {name!r}, but must have only {', '.join(known)}"
                )
        return cls(**given)


def _whole(name: str, given: object, least: int, greatest: int) -> int:
    value = whole(name, given)
    if not least <= value <= greatest:
        raise ConfigurationError(f"{name} is {value}, but must be from {least} to {greatest}")
    return value


def _one_of(name: str, value: str, choice: tuple[str, ...]) -> None:
    if value not in choice:
        raise ConfigurationError(f"{name} is {value!r}, but must be one of {choice}")
