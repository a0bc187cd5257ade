"""Settings of the batch engine, and the learning rates it tries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from math import ceil, isfinite
from typing import Any, final

from streamnet.errors import ConfigurationError
from streamnet.settings.candidate import CandidateSettings
from streamnet.validation import check_bool, check_integer, check_number, check_seed, to_builtins

__all__ = (
    "MAX_RATES",
    "ORDERS",
    "PROTOCOLS",
    "EngineSettings",
    "list_rates",
)


MAX_RATES = 10_000


def list_rates(learning_rate: float, decay: float) -> tuple[float, ...]:
    """``learning_rate``, ``learning_rate - decay``, and so on while above 0.

    Both count as the decimals that they are written as: a sum of floats would give a step too many
    or too few now and then.

    Args:
        learning_rate: The first rate.
        decay: From one rate to the next; 0 is one rate only.

    Raises:
        ConfigurationError: If a value breaks its rule.

    >>> list_rates(0.3, 0.1), list_rates(0.3, 0.0)
    ((0.3, 0.2, 0.1), (0.3,))
    >>> len(list_rates(0.4, 0.005)), len(list_rates(0.9, 0.001))
    (80, 900)
    """
    if not (isfinite(learning_rate) and learning_rate > 0):
        raise ConfigurationError(f"learning_rate is {learning_rate}, but must be > 0")
    if not (isfinite(decay) and decay >= 0):
        raise ConfigurationError(f"decay is {decay}, but must be >= 0")
    if decay == 0:
        return (float(learning_rate),)
    first, step = Fraction(str(float(learning_rate))), Fraction(str(float(decay)))
    count = ceil(first / step)
    if count > MAX_RATES:
        raise ConfigurationError(
            f"decay is {decay:g}, which makes {count:,} rates, but must make <= {MAX_RATES:,}"
        )
    return tuple(float(first - number * step) for number in range(count))


PROTOCOLS = ("holdout", "gopher")
ORDERS = ("random", "file")
DEFAULT_ENSEMBLE = 10  # networks that answer together
_RESERVED = ("hidden", "learning_rate", "decay", "schedule", "decay_steps", "batch_size", "lags")
_NETWORK = {"activation": "relu", "optimizer": "sgd", "weight_decay": 0.003}
_AT_LEAST_ONE = ("tries", "epochs", "threads", "iterations", "batch_size", "ensemble")
_NUMBERS = ("training_split", "learning_rate", "decay", "half_life", "regression_threshold")
_OPTIONAL = ("iterations", "ensemble", "refit")
_DTYPES = ("float32", "float64")


@final
@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """How an engine learns a set. The defaults are meant to do for most sets.

    Args:
        hidden: Units of each hidden layer.
        criterion: By what the best is chosen, see `selection.criteria`.
        tries: Restarts, each with start weights of its own.
        epochs: Passes over the training part; at each rate with ``protocol`` gopher.
        training_split: Share of the samples to learn. The rest is halved: validation chooses,
            and test is reported. With ``protocol`` gopher all of the rest does both.
        learning_rate: The largest rate that is tried.
        decay: From one rate to the next, while above 0; 0 tries one rate only.
        regression_threshold: Numbers closer than this to the truth are correct (criterion simple).
        iterations: Most samples that a candidate learns, over all epochs; None is no limit.
        batch_size: Samples whose mean gradient makes one step. Batches go on over epochs.
        order: Of the samples: random, anew in each epoch; or as in the file.
        ordered: Whether the earliest samples (of each stratum) are learned and the latest held
            out, as suits a stream; otherwise parts are drawn at random.
        protocol: holdout: each try with each rate is a candidate, rated on the validation part
            after each epoch. gopher: as gopher-neural does it, one network for each try, whose
            rate falls from step to step, and the part that chooses is the one that is reported,
            which flatters.
        ensemble: How many of the best, each at its best epoch, answer together; 1 is the winner
            alone. None is 10, with ``protocol`` gopher 1.
        refit: Whether these learn again, as many epochs as were best, with the validation part
            too. None is yes, with ``protocol`` gopher no.
        half_life: Epochs after which a candidate's rate has fallen to a half; after twice as many
            to a third. 0 lets it be. Not for ``protocol`` gopher, where it falls by ``decay``.
        seed: Key of all random numbers.
        threads: Most threads that learn at once; changes speed, never results.
        dtype: float32 or float64, of the networks.
        network: More settings of `CandidateSettings`; by default ReLU units, plain gradient
            descent and a weight decay of 0.003.
        encoder: Settings of the `Encoder`.

    Raises:
        ConfigurationError: If a value breaks its rule.

    >>> EngineSettings(learning_rate=0.4, decay=0.005).template().describe()
    'relu 64-32, sgd 0.4'
    """

    hidden: tuple[int, ...] = (64, 32)
    criterion: str = "distance"
    tries: int = 5
    epochs: int = 60
    training_split: float = 0.7
    learning_rate: float = 0.03
    decay: float = 0.01
    regression_threshold: float = 0.05
    iterations: int | None = None
    batch_size: int = 1
    order: str = "random"
    ordered: bool = False
    protocol: str = "holdout"
    ensemble: int | None = None
    refit: bool | None = None
    half_life: float = 6.0
    seed: int = 0
    threads: int = 2
    dtype: str = "float32"
    network: Mapping[str, Any] = field(default_factory=dict)
    encoder: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, names in (("protocol", PROTOCOLS), ("order", ORDERS)):
            value = getattr(self, name)
            if value not in names:
                raise ConfigurationError(f"{name} is {value!r}, but must be {' or '.join(names)}")
        for name in ("network", "encoder"):
            value = getattr(self, name)
            if not isinstance(value, Mapping):
                raise ConfigurationError(
                    f"{name} is {value!r}, but must be a dict of settings by name"
                )
        dtype = to_builtins({"dtype": self.dtype})["dtype"]
        if dtype not in _DTYPES:
            raise ConfigurationError(f"dtype is {dtype!r}, but must be {' or '.join(_DTYPES)}")
        object.__setattr__(self, "dtype", dtype)
        object.__setattr__(self, "seed", check_seed(self.seed))
        self._check_types()
        self._check_numbers()
        if self.refit and self.follows_gopher:
            raise ConfigurationError("refit is True, but must be False with protocol gopher")
        for name in _RESERVED:
            if name in self.network:
                raise ConfigurationError(
                    f"network has {name!r}, but that is not for an engine's networks alone"
                )
        self.template()

    def _check_types(self) -> None:
        """Keep Python's own numbers, which a report can hold, and refuse what is none."""
        checks = (
            (check_integer, _AT_LEAST_ONE),
            (check_number, _NUMBERS),
            (check_bool, ("ordered", "refit")),
        )
        for check, names in checks:
            for name in names:
                value = getattr(self, name)
                if value is not None or name not in _OPTIONAL:
                    object.__setattr__(self, name, check(name, value))

    def _check_numbers(self) -> None:
        for name in _AT_LEAST_ONE:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigurationError(f"{name} is {value}, but must be >= 1")
        for name in ("half_life", "regression_threshold"):
            value = getattr(self, name)
            if not (isfinite(value) and value >= 0):
                raise ConfigurationError(f"{name} is {value}, but must be >= 0")
        if not 0.0 < self.training_split < 1.0:
            raise ConfigurationError(
                f"training_split is {self.training_split}, but must be > 0 and < 1"
            )

    @property
    def follows_gopher(self) -> bool:
        """Whether it goes as in gopher-neural."""
        return self.protocol == "gopher"

    @property
    def ensemble_size(self) -> int:
        """The maximum number of networks in the ensemble."""
        return self.ensemble or (1 if self.follows_gopher else DEFAULT_ENSEMBLE)

    @property
    def refits(self) -> bool:
        """Whether the best learn again, with the validation part too."""
        return not self.follows_gopher if self.refit is None else self.refit

    def rates(self) -> tuple[float, ...]:
        """The learning rates to try."""
        return list_rates(self.learning_rate, self.decay)

    def template(self) -> CandidateSettings:
        """What all networks have in common."""
        given = {**_NETWORK, **self.network}
        rate = self.rates()[0]
        own = {"hidden": self.hidden, "learning_rate": rate, "batch_size": self.batch_size}
        return CandidateSettings.from_dict({**given, **own})

    def as_dict(self) -> dict[str, Any]:
        """All settings by name, as JSON can hold them."""
        return {**asdict(self), "hidden": list(self.hidden)}
