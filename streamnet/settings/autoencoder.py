"""AutoEncoderSettings: the settings of a denoising auto-encoder and their rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from math import isfinite
from numbers import Integral
from typing import Any, final

from streamnet.errors import ConfigurationError
from streamnet.validation import check_integer, check_number, check_seed

__all__ = ("ACTIVATIONS", "AutoEncoderSettings")

ACTIVATIONS = ("tanh", "relu", "identity")
OPTIMIZERS = ("adagrad", "rmsprop")
USES = ("add", "replace")
DTYPES = ("float32", "float64")
MAX_UNITS = 1024
MAX_LAYERS = 4
MAX_NEGATIVES = 100


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
        optimizer: "adagrad" or "rmsprop".
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
    optimizer: str = "adagrad"
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
        layers = tuple(_check_range("hidden", units, 1, MAX_UNITS) for units in hidden)
        object.__setattr__(self, "hidden", layers)
        object.__setattr__(self, "code", _check_range("code", self.code, 1, MAX_UNITS))
        if len(self.hidden) > MAX_LAYERS:
            raise ConfigurationError(
                f"hidden has {len(self.hidden)} layers, but must have <= {MAX_LAYERS}"
            )
        negatives = _check_range("negatives", self.negatives, 1, MAX_NEGATIVES)
        object.__setattr__(self, "negatives", negatives)
        object.__setattr__(self, "seed", check_seed(self.seed))
        for name in ("noise", "learning_rate", "fading"):
            object.__setattr__(self, name, check_number(name, getattr(self, name)))
        if not 0.0 <= self.noise < 1.0:
            raise ConfigurationError(f"noise is {self.noise}, but must be >= 0 and < 1")
        if not (self.learning_rate > 0.0 and isfinite(self.learning_rate)):
            raise ConfigurationError(f"learning_rate is {self.learning_rate}, but must be > 0")
        if not 0.0 < self.fading <= 1.0:
            raise ConfigurationError(f"fading is {self.fading}, but must be > 0 and <= 1")
        _check_choice("activation", self.activation, ACTIVATIONS)
        _check_choice("optimizer", self.optimizer, OPTIMIZERS)
        _check_choice("inputs", self.inputs, USES)
        _check_choice("dtype", self.dtype, DTYPES)

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


def _check_range(name: str, given: object, least: int, greatest: int) -> int:
    value = check_integer(name, given)
    if not least <= value <= greatest:
        raise ConfigurationError(f"{name} is {value}, but must be from {least} to {greatest}")
    return value


def _check_choice(name: str, value: str, choice: tuple[str, ...]) -> None:
    if value not in choice:
        raise ConfigurationError(f"{name} is {value!r}, but must be one of {choice}")
