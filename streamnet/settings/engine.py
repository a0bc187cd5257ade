"""Settings of the batch engine, and the learning rates it tries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from fractions import Fraction
from math import ceil, isfinite
from typing import Annotated, Any, Literal, final

from annotated_types import Gt, Lt

from streamnet.errors import ConfigurationError
from streamnet.settings.candidate import CandidateSettings, Hidden
from streamnet.settings.fields import Count, DType, NonNegative, Positive, Seed, Settings, declare
from streamnet.settings.learning import Criterion

MAX_RATES = 10_000


def list_rates(learning_rate: float, decay: float) -> tuple[float, ...]:
    """``learning_rate``, ``learning_rate - decay``, and so on while above 0.

    Both are taken as decimals: repeated subtraction of floats would now and then give one step too
    many or too few. A decay of 0 gives a single rate.

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


_DEFAULT_ENSEMBLE = 10
_RESERVED = ("hidden", "learning_rate", "decay", "schedule", "decay_steps", "batch_size", "lags")
_NETWORK = {"activation": "relu", "optimizer": "sgd", "weight_decay": 0.003}


@final
@declare
class EngineSettings(Settings):
    """How an engine learns a data set. The defaults suit most sets.

    Args:
        hidden: Units of each hidden layer; by default 64-32.
        criterion: Criterion of the best network: distance, simple; for labels accuracy,
            balanced_accuracy, f1, kappa, log_loss (probabilities clipped at 0.0001); for numbers
            mse, mae; or gopher-neural's formula, such as gopher.accuracy.
        tries: Restarts, each with other initial weights.
        epochs: Passes over the training part. With protocol gopher, at each learning rate.
        training_split: Fraction of the samples to train on. The rest is halved: the validation part
            chooses, the test part is reported. With protocol gopher the whole rest does both.
        learning_rate: Largest learning rate to try.
        decay: Difference between one rate and the next, while above 0; 0 tries one rate.
        regression_threshold: Predictions closer than this to the target are correct (criterion
            simple).
        iterations: Most samples that a network learns, over all epochs; by default no limit.
        batch_size: Samples whose mean gradient makes one step. Batches continue over epochs.
        order: Order of the samples: random, shuffled in each epoch, or that of the file.
        ordered: Train on the earliest samples (of each stratum) and hold out the latest, as suits a
            stream. Otherwise the parts are drawn at random.
        protocol: holdout: the part that is reported has no influence on the choice; gopher:
            gopher-neural's, with falling rates and one part for both, which flatters. With holdout
            each try with each rate is a candidate, scored on the validation part after each epoch;
            with gopher there is one network for each try, whose rate falls from step to step.
        ensemble: How many of the best networks, each at its best epoch, predict together; by
            default 10, or 1 with protocol gopher.
        refit: Whether the best networks are trained again, for as many epochs as were best, with
            the validation part too; by default yes, but no with protocol gopher.
        half_life: Epochs after which a candidate's rate has fallen to a half; after twice as many
            to a third. 0 keeps it. Not for protocol gopher, where it falls by `decay`.
        seed: Seed of all random numbers.
        threads: Most threads that learn at once; changes speed, never results.
        dtype: Data type of the networks.
        network: More settings of `CandidateSettings`; by default ReLU units, plain gradient descent
            and a weight decay of 0.003.
        encoder: Settings of the `Encoder`.

    >>> EngineSettings(learning_rate=0.4, decay=0.005).template().describe()
    'relu 64-32, sgd 0.4'
    """

    hidden: Hidden = (64, 32)
    criterion: Criterion = "distance"
    tries: Count = 5
    epochs: Count = 60
    training_split: Annotated[float, Gt(0), Lt(1)] = 0.7
    learning_rate: Positive = 0.03
    decay: NonNegative = 0.01
    regression_threshold: NonNegative = 0.05
    iterations: Count | None = None
    batch_size: Count = 1
    order: Literal["random", "file"] = "random"
    ordered: bool = False
    protocol: Literal["holdout", "gopher"] = "holdout"
    ensemble: Count | None = None
    refit: bool | None = None
    half_life: NonNegative = 6.0
    seed: Seed = 0
    threads: Count = 2
    dtype: DType = "float32"
    network: Mapping[str, Any] = field(default_factory=dict)
    encoder: Mapping[str, Any] = field(default_factory=dict)

    def check_rules(self) -> None:
        """Check the rules between settings."""
        if self.refit and self.follows_gopher:
            raise ConfigurationError("refit is True, but must be False with protocol gopher")
        for name in _RESERVED:
            if name in self.network:
                raise ConfigurationError(
                    f"network has {name!r}, but that is not a setting of the networks alone"
                )
        self.template()

    @property
    def follows_gopher(self) -> bool:
        """Whether the protocol is that of gopher-neural."""
        return self.protocol == "gopher"

    @property
    def ensemble_size(self) -> int:
        """The maximum number of networks in the ensemble."""
        return self.ensemble or (1 if self.follows_gopher else _DEFAULT_ENSEMBLE)

    @property
    def refits(self) -> bool:
        """Whether the best networks are trained again, with the validation part too."""
        return not self.follows_gopher if self.refit is None else self.refit

    def rates(self) -> tuple[float, ...]:
        """The learning rates to try."""
        return list_rates(self.learning_rate, self.decay)

    def template(self) -> CandidateSettings:
        """Settings that all networks have in common."""
        given = {**_NETWORK, **self.network}
        rate = self.rates()[0]
        own = {"hidden": self.hidden, "learning_rate": rate, "batch_size": self.batch_size}
        return CandidateSettings.from_dict({**given, **own})
