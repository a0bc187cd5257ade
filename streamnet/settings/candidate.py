"""CandidateSettings: everything in which one candidate network differs from another."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from math import isfinite
from numbers import Integral
from typing import Any, final

from streamnet import validation
from streamnet.errors import ConfigurationError
from streamnet.samples import Task

__all__ = (
    "ACTIVATIONS",
    "INITIALIZATIONS",
    "LOSSES",
    "MAX_LAYERS",
    "OPTIMIZERS",
    "OUTPUTS",
    "SCHEDULES",
    "TRANSFORMS",
    "CandidateSettings",
)

# The number of a name is its code in the kernels.
ACTIVATIONS = ("identity", "logistic", "tanh", "relu")
OUTPUTS = (*ACTIVATIONS, "softmax")
LOSSES = ("cross_entropy", "squared", "absolute", "huber")
OPTIMIZERS = ("sgd", "momentum", "rmsprop", "adagrad", "adam")
SCHEDULES = ("constant", "step", "inverse", "linear")
INITIALIZATIONS = ("fan_in", "uniform")
TRANSFORMS = ("none", "log")
MAX_LAYERS = 8
MAX_KNOTS = 256

_POSITIVE = (
    "learning_rate",
    "epsilon",
    "huber_delta",
    "decay_steps",
    "batch_size",
    "score_limit",
)
_NOT_NEGATIVE = (
    "decay",
    "weight_decay",
    "clip",
    "rehearsal",
    "early_rehearsal",
    "memory",
    "knots",
    "class_weight",
)
_BELOW_ONE = ("momentum", "second_momentum")
_INTEGERS = ("decay_steps", "batch_size", "rehearsal", "early_rehearsal", "memory", "knots")
_MAX_INTEGER = 1 << 31  # of a whole number
_LABEL_TOLERANCE = 0.1  # of labels: faster, and as right within the spread of seeds, on ten streams
_MIN_EPSILON, _MAX_EPSILON = 1e-18, 1e18  # whose squares float32 tells from zero and infinity


@final
@dataclass(frozen=True)
class CandidateSettings:
    """Topology, loss, optimizer and memory of one network.

    Args:
        hidden: Units of each hidden layer; none makes a linear model.
        activation: Of the hidden layers, one name for all or one each: identity, logistic, tanh,
            relu.
        output: Activation of the output layer: the same ones, or softmax for labels; None is
            softmax for labels and identity for numbers.
        loss: cross_entropy (for labels), squared (half the squared error), absolute, huber; None is
            cross_entropy for labels and huber for numbers.
        huber_delta: Error at which Huber's loss turns from squared to absolute.
        optimizer: sgd, momentum (Polyak 1964), rmsprop (Hinton 2012), adagrad (Duchi, Hazan and
            Singer 2011), adam (Kingma and Ba 2015). Rows of inputs that are not active in a
            sample, such as the other values of a category, are left alone by all of them.
        learning_rate: Step size at the start.
        schedule: constant; step: times ``decay`` after every ``decay_steps`` steps; inverse:
            divided by ``1 + decay * steps``; linear: less ``decay`` after every ``decay_steps``
            steps, down to 0.
        decay: See ``schedule``.
        decay_steps: See ``schedule``.
        momentum: Share of the running gradient that is kept a step (momentum, adam).
        second_momentum: Share of the running squared gradient that is kept (rmsprop, adam).
        epsilon: Its square is added to the running squared gradient before the root is taken.
        weight_decay: Share of a weight, times the learning rate, that is taken off at each step
            (decoupled: Loshchilov and Hutter 2019); never off a bias.
        clip: Largest Euclidean norm of a sample's gradient; 0 is no limit.
        batch_size: Samples, rehearsed ones included, whose mean gradient makes one step. What came
            after the last whole batch waits for more.
        rehearsal: Earlier samples that are learned again after each new one.
        early_rehearsal: Earlier samples that are learned again after each new one while there are
            few: so many of the first 1,024, half as many by the 2,048th, and so on, but never fewer
            than ``rehearsal``.
        memory: How many of the last samples rehearsal draws from.
        rehearsal_tolerance: Of an earlier sample no output is wrong by this much: then it is known
            well enough, and not learned again (Jiang et al. 2019, Accelerating deep learning by
            focusing on the biggest losers). 0 is to learn all; None is 0.1 for labels, and 0 for
            numbers, whose errors are in standard deviations.
        bias: Whether units have a bias.
        lags: Whether the last targets that are known are inputs as well, which helps where targets
            resemble those before them. Such a network can't answer well where nobody tells it
            targets, so it does not become a model of its own.
        initialization: Of the start weights. fan_in: uniform, with a variance that falls with the
            number of a unit's inputs (He et al. 2015, LeCun et al. 1998); uniform: in [-1, 1),
            whatever the number. Biases start at zero.
        score_limit: Largest size of an output before its activation; a network with a larger one
            has exploded: it answers and learns no more.
        knots: Points, evenly from -3 to 3 standard deviations, between which the first layer learns
            a piecewise linear function of each number, besides a linear one; 0 for none, else at
            least 2. What depends on a number by steps and bends is learned sooner that way
            (Gorishniy, Rubachev and Babenko 2022, On embeddings for numerical features).
        class_weight: Power, up to 1, of the rarity of a sample's class that the sample's gradient
            is multiplied by: 0 lets every sample weigh the same, 1 every class (King and Zeng
            2001). The rarity is ``n / (classes * n_c)``, by the samples learned up to this one; the
            factor is never more than 16. A sample that is learned again keeps its rarity.
        target_transform: Of numbers, before they are standardized: none; log: ``sign(y) log(1 +
            |y|)``, where errors matter in proportion, as they do to prices and counts. Answers are
            turned back, into medians rather than means, before anybody sees them.

    Raises:
        ConfigurationError: If a value breaks its rule; the message names value and rule.

    >>> CandidateSettings(hidden=(20,), optimizer="sgd", learning_rate=0.1).describe()
    'tanh 20, sgd 0.1'
    """

    hidden: tuple[int, ...] = (32,)
    activation: str | tuple[str, ...] = "tanh"
    output: str | None = None
    loss: str | None = None
    huber_delta: float = 1.0
    optimizer: str = "rmsprop"
    learning_rate: float = 0.01
    schedule: str = "constant"
    decay: float = 0.0
    decay_steps: int = 1000
    momentum: float = 0.9
    second_momentum: float = 0.99
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    clip: float = 0.0
    batch_size: int = 1
    rehearsal: int = 0
    memory: int = 1000
    bias: bool = True
    lags: bool = False
    initialization: str = "fan_in"
    score_limit: float = 1e6
    knots: int = 0
    early_rehearsal: int = 0
    class_weight: float = 0.0
    target_transform: str = "none"
    rehearsal_tolerance: float | None = None

    def __post_init__(self) -> None:
        hidden: Any = self.hidden
        if isinstance(hidden, Integral):
            rule = f"must be the units of each layer, as in ({hidden},)"
            raise ConfigurationError(f"hidden is {hidden}, but {rule}")
        units = tuple(_check_integer_or_number("hidden", layer, whole=True) for layer in hidden)
        object.__setattr__(self, "hidden", units)
        if not isinstance(self.activation, str):
            object.__setattr__(self, "activation", tuple(self.activation))
        for name in ("bias", "lags"):
            object.__setattr__(self, name, validation.check_bool(name, getattr(self, name)))
        for name in (*_POSITIVE, *_NOT_NEGATIVE, *_BELOW_ONE):
            self._check_number(name)
        if self.rehearsal_tolerance is not None:
            self._check_number("rehearsal_tolerance")
        self._check_topology()
        _check_name("optimizer", self.optimizer, OPTIMIZERS)
        _check_name("schedule", self.schedule, SCHEDULES)
        _check_name("initialization", self.initialization, INITIALIZATIONS)
        _check_name("target_transform", self.target_transform, TRANSFORMS)
        _check_name("output", self.output or "softmax", OUTPUTS)
        _check_name("loss", self.loss or "squared", LOSSES)
        if self.loss == "cross_entropy" and self.output not in (None, "softmax", "logistic"):
            raise ConfigurationError(
                f"output is {self.output!r}, but loss 'cross_entropy' needs softmax or logistic"
            )
        if self.output == "softmax" and self.loss not in (None, "cross_entropy"):
            raise ConfigurationError(
                f"loss is {self.loss!r}, but output 'softmax' needs cross_entropy"
            )
        if self.knots == 1 or self.knots > MAX_KNOTS:
            raise ConfigurationError(
                f"knots is {self.knots}, but must be 0 or from 2 to {MAX_KNOTS}"
            )
        if self.class_weight > 1:
            raise ConfigurationError(f"class_weight is {self.class_weight}, but must be <= 1")

    def _check_topology(self) -> None:
        if len(self.hidden) > MAX_LAYERS:
            raise ConfigurationError(
                f"hidden has {len(self.hidden)} layers, but must have <= {MAX_LAYERS}"
            )
        for units in self.hidden:
            if not 1 <= units <= 4096:
                raise ConfigurationError(f"hidden has {units} units, but must have 1 to 4096")
        for name in self.activations:
            _check_name("activation", name, ACTIVATIONS)
        if len(self.activations) != len(self.hidden):
            raise ConfigurationError(
                f"activation names {len(self.activations)} layers, but hidden has "
                f"{len(self.hidden)}"
            )

    def _check_number(self, name: str) -> None:
        value = _check_integer_or_number(name, getattr(self, name), whole=name in _INTEGERS)
        object.__setattr__(self, name, value)
        if not isfinite(value):
            raise ConfigurationError(f"{name} is {value}, but must be finite")
        if name in _POSITIVE and value <= 0:
            raise ConfigurationError(f"{name} is {value}, but must be > 0")
        if value < 0:
            raise ConfigurationError(f"{name} is {value}, but must be >= 0")
        if name == "epsilon" and value < _MIN_EPSILON:
            raise ConfigurationError(f"{name} is {value}, but must be >= {_MIN_EPSILON}")
        if name == "epsilon" and value > _MAX_EPSILON:
            raise ConfigurationError(f"{name} is {value}, but must be <= {_MAX_EPSILON}")
        if name in _BELOW_ONE and value >= 1:
            raise ConfigurationError(f"{name} is {value}, but must be < 1")

    @classmethod
    def gopher(
        cls, *, hidden: tuple[int, ...] = (20,), learning_rate: float = 0.05
    ) -> CandidateSettings:
        """A network as gopher-neural makes it.

        Logistic units everywhere and no biases, half the squared error, start weights in [-1, 1),
        and plain gradient descent after every sample. In float64 it learns what gopher-neural's
        learns, but for rounding.

        >>> CandidateSettings.gopher(hidden=(16,)).describe()
        'logistic 16, sgd 0.05'
        """
        return cls(
            hidden=hidden,
            activation="logistic",
            output="logistic",
            loss="squared",
            optimizer="sgd",
            learning_rate=learning_rate,
            bias=False,
            initialization="uniform",
            score_limit=1e300,
        )

    @property
    def activations(self) -> tuple[str, ...]:
        """One activation for each hidden layer."""
        if isinstance(self.activation, str):
            return (self.activation,) * len(self.hidden)
        return self.activation

    @property
    def rehearses(self) -> bool:
        """Whether earlier samples are ever learned again."""
        return self.rehearsal > 0 or self.early_rehearsal > 0

    def output_for(self, task: Task) -> str:
        """Activation of the output layer for ``task``."""
        if self.output:
            return self.output
        if task is Task.REGRESSION:
            return "identity"
        return "softmax" if self.loss_for(task) == "cross_entropy" else "logistic"

    def loss_for(self, task: Task) -> str:
        """Loss for ``task``."""
        return self.loss or ("cross_entropy" if task is Task.CLASSIFICATION else "huber")

    def rehearsal_tolerance_for(self, task: Task) -> float:
        """Error of an output below which an earlier sample is not learned again in ``task``."""
        if self.rehearsal_tolerance is not None:
            return self.rehearsal_tolerance
        return _LABEL_TOLERANCE if task is Task.CLASSIFICATION else 0.0

    def for_task(self, task: Task) -> CandidateSettings:
        """These settings, without what has no meaning for ``task``.

        Raises:
            ConfigurationError: If loss or output are for labels, and the task is a regression.

        >>> CandidateSettings(target_transform="log").for_task(Task.CLASSIFICATION).describe()
        'tanh 32, rmsprop 0.01'
        """
        if task is Task.CLASSIFICATION:
            return replace(self, target_transform="none")
        for name, of_labels, names in (
            ("loss", "cross_entropy", LOSSES),
            ("output", "softmax", OUTPUTS),
        ):
            if getattr(self, name) == of_labels:
                others = ", ".join(other for other in names if other != of_labels)
                raise ConfigurationError(
                    f"{name} is {of_labels!r}, but for a {task} must be one of {others}"
                )
        return replace(self, class_weight=0.0)

    def describe(self) -> str:
        """A few words for a leader board."""
        names = dict.fromkeys(self.activations)
        units = "-".join(str(units) for units in self.hidden)
        words = [f"{'/'.join(names)} {units}" if self.hidden else "linear"]
        words.append(f"{self.optimizer} {self.learning_rate:g}")
        if self.schedule != "constant":
            words.append(f"{self.schedule} {self.decay:g}")
        if self.batch_size > 1:
            words.append(f"batches of {self.batch_size}")
        if self.rehearsal:
            words.append(f"rehearsal {self.rehearsal}")
        if self.knots:
            words.append(f"{self.knots} knots")
        if self.class_weight:
            words.append(f"class weight {self.class_weight:g}")
        if self.target_transform != "none":
            words.append(f"{self.target_transform} of target")
        if self.lags:
            words.append("lags")
        return ", ".join(words)

    def as_dict(self) -> dict[str, Any]:
        """All settings by name, as JSON can hold them."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["hidden"] = list(self.hidden)
        if not isinstance(self.activation, str):
            values["activation"] = list(self.activation)
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> CandidateSettings:
        """The settings that `as_dict` gave.

        Raises:
            ConfigurationError: If a name is unknown or a value breaks its rule.
        """
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ConfigurationError(f"candidate has the unknown setting {unknown[0]!r}")
        return cls(**values)


def _check_integer_or_number(name: str, given: object, *, whole: bool) -> float:
    value = validation.check_integer(name, given) if whole else validation.check_number(name, given)
    if isinstance(value, int) and abs(value) > _MAX_INTEGER:
        raise ConfigurationError(f"{name} is {value}, but must be <= {_MAX_INTEGER}")
    return value


def _check_name(setting: str, name: str, names: tuple[str, ...]) -> None:
    if name not in names:
        raise ConfigurationError(f"{setting} is {name!r}, but must be one of {', '.join(names)}")
