"""CandidateSettings: everything in which one candidate network differs from another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal, get_args

from annotated_types import Ge, Le, Lt, MaxLen

from streamnet.errors import ConfigurationError
from streamnet.samples import Task
from streamnet.settings.fields import (
    MAX_INTEGER,
    Check,
    Listed,
    NonNegative,
    PerLayer,
    Positive,
    Setting,
    Settings,
    declare,
    format_choices,
)

Activation = Literal["identity", "logistic", "tanh", "relu"]
Output = Literal["identity", "logistic", "tanh", "relu", "softmax"]
Loss = Literal["cross_entropy", "squared", "absolute", "huber"]
Optimizer = Literal["sgd", "momentum", "rmsprop", "adagrad", "adam"]
Schedule = Literal["constant", "step", "inverse", "linear"]
Initialization = Literal["fan_in", "uniform"]
TargetTransform = Literal["none", "log"]

# The index of a name is its code in the kernels.
ACTIVATIONS: tuple[str, ...] = get_args(Activation)
OUTPUTS: tuple[str, ...] = get_args(Output)
LOSSES: tuple[str, ...] = get_args(Loss)
OPTIMIZERS: tuple[Optimizer, ...] = get_args(Optimizer)
SCHEDULES: tuple[str, ...] = get_args(Schedule)
INITIALIZATIONS: tuple[str, ...] = get_args(Initialization)
TRANSFORMS: tuple[str, ...] = get_args(TargetTransform)
MAX_LAYERS = 8
MAX_UNITS = 4096
MAX_KNOTS = 256

Whole = Annotated[int, Ge(0), Le(MAX_INTEGER)]
WholePositive = Annotated[int, Ge(1), Le(MAX_INTEGER)]
Hidden = Annotated[tuple[Annotated[int, Ge(1), Le(MAX_UNITS)], ...], MaxLen(MAX_LAYERS), Listed()]
BelowOne = Annotated[float, Ge(0), Lt(1)]

# Faster, and as accurate within the spread of seeds, on ten streams.
_LABEL_TOLERANCE = 0.1


def _check_knots(knots: int) -> int:
    if knots == 1 or knots > MAX_KNOTS:
        raise ConfigurationError(f"knots is {knots}, but must be 0 or from 2 to {MAX_KNOTS}")
    return knots


@declare
class CandidateSettings(Settings):
    """Topology, loss, optimizer and rehearsal of one network.

    Args:
        hidden: Units of each hidden layer; none makes a linear model.
        activation: Activation of the hidden layers, one for all or one each: identity, logistic,
            tanh or relu.
        output: Activation of the output layer: one of these, or softmax for labels; None is softmax
            for labels and identity for numbers.
        loss: Loss function: cross_entropy (for labels), squared (half the squared error), absolute
            or huber; None is cross_entropy for labels and huber for numbers.
        huber_delta: Error at which Huber's loss turns from squared to absolute.
        optimizer: Optimizer: sgd, momentum (Polyak 1964), rmsprop (Hinton 2012), adagrad (Duchi,
            Hazan and Singer 2011) or adam (Kingma and Ba 2015). All of them leave alone the rows of
            inputs that are not active in a sample, such as the other values of a category.
        learning_rate: Initial step size.
        schedule: Schedule of the step size. constant; step: multiplied by `decay` after every
            `decay_steps` steps; inverse: divided by ``1 + decay * steps``; linear: reduced by
            `decay` after every `decay_steps` steps, down to 0.
        decay: Decay of the step size, see `schedule`.
        decay_steps: Steps between two decays, see `schedule`.
        momentum: Fraction of the running gradient kept at each step (momentum, adam).
        second_momentum: Fraction of the running squared gradient kept at each step (rmsprop, adam).
        epsilon: Added, squared, to the running squared gradient before its root is taken.
        weight_decay: Fraction of each weight, times the learning rate, subtracted at each step
            (decoupled: Loshchilov and Hutter 2019); never applied to biases.
        clip: Largest Euclidean norm of a sample's gradient; 0 is no limit.
        batch_size: Samples, rehearsed ones included, whose mean gradient makes one step. Those
            after the last full batch wait for more.
        rehearsal: Earlier samples learned again after each new one (experience replay).
        memory: Size of the window that rehearsal draws from.
        bias: Whether units have a bias.
        lags: Whether the last known targets are inputs as well, which helps where targets resemble
            those before them. Such a network is useless where targets are unknown, so it does not
            become part of a model.
        initialization: Distribution of the initial weights. fan_in: uniform, with a variance that
            falls with the number of a unit's inputs (He et al. 2015, LeCun et al. 1998); uniform:
            in [-1, 1), whatever the number. Biases start at zero.
        score_limit: Largest magnitude of an output before its activation. A network that exceeds it
            has exploded and no longer predicts or learns.
        knots: Knots of a spline of each number; 0 for none, else at least 2. In addition to a
            linear function, the first layer learns a piecewise linear one with knots evenly from -3
            to 3 standard deviations, so that steps and bends are learned sooner (Gorishniy,
            Rubachev and Babenko 2022, On embeddings for numerical features).
        early_rehearsal: Earlier samples learned again after each new one at the start of a stream:
            this many for the first 1,024 samples, half as many by the 2,048th, and so on, but never
            fewer than `rehearsal`.
        class_weight: Weight of rare classes: 0 weights all samples alike, 1 all classes alike. It
            is the power of the rarity of a sample's class by which its gradient is multiplied (King
            and Zeng 2001). Rarity is ``n / (classes * n_c)`` over the samples learned so far; the
            factor is at most 16. A rehearsed sample keeps its rarity.
        target_transform: Transformation of numbers to predict: none or log, which is ``sign(y)
            log(1 + |y|)`` before standardization, for targets whose errors matter in proportion,
            such as prices and counts. Predictions are transformed back, into medians rather than
            means.
        rehearsal_tolerance: An earlier sample is not learned again while no output is wrong by this
            much (Jiang et al. 2019, Accelerating deep learning by focusing on the biggest losers).
            0 learns all; None is 0.1 for labels, and 0 for numbers, whose errors are in standard
            deviations.

    Raises:
        ConfigurationError: If a value breaks its rule; the message names value and rule.

    >>> CandidateSettings(hidden=(20,), optimizer="sgd", learning_rate=0.1).describe()
    'tanh 20, sgd 0.1'
    """

    hidden: Annotated[Hidden, Setting(grid=True)] = (32,)
    activation: Annotated[Activation | tuple[Activation, ...], PerLayer(), Setting(grid=True)] = (
        "tanh"
    )
    output: Output | None = None
    loss: Loss | None = None
    huber_delta: Positive = 1.0
    optimizer: Annotated[Optimizer, Setting(grid=True)] = "rmsprop"
    learning_rate: Annotated[Positive, Setting(grid=True)] = 0.01
    schedule: Schedule = "constant"
    decay: NonNegative = 0.0
    decay_steps: WholePositive = 1000
    momentum: BelowOne = 0.9
    second_momentum: BelowOne = 0.99
    # float32 can tell the squares of these bounds from zero and infinity.
    epsilon: Annotated[float, Ge(1e-18), Le(1e18)] = 1e-8
    weight_decay: NonNegative = 0.0
    clip: NonNegative = 0.0
    batch_size: WholePositive = 1
    rehearsal: Annotated[Whole, Setting(grid=True)] = 0
    memory: Whole = 1000
    bias: bool = True
    lags: bool = False
    initialization: Initialization = "fan_in"
    score_limit: Positive = 1e6
    knots: Annotated[Whole, Check(_check_knots), Setting(grid=True)] = 0
    early_rehearsal: Whole = 0
    class_weight: Annotated[float, Ge(0), Le(1), Setting(grid=True)] = 0.0
    target_transform: Annotated[TargetTransform, Setting(grid=True)] = "none"
    rehearsal_tolerance: NonNegative | None = None

    def check_rules(self) -> None:
        """Check the rules between settings."""
        if len(self.activations) != len(self.hidden):
            raise ConfigurationError(
                f"activation has {len(self.activations)} layers, but hidden has {len(self.hidden)}"
            )
        if self.loss == "cross_entropy" and self.output not in (None, "softmax", "logistic"):
            raise ConfigurationError(
                f"output is {self.output!r}, but loss 'cross_entropy' needs softmax or logistic"
            )
        if self.output == "softmax" and self.loss not in (None, "cross_entropy"):
            raise ConfigurationError(
                f"loss is {self.loss!r}, but output 'softmax' needs cross_entropy"
            )

    @classmethod
    def gopher(
        cls, *, hidden: tuple[int, ...] = (20,), learning_rate: float = 0.05
    ) -> CandidateSettings:
        """Settings of a network like gopher-neural's.

        Logistic units everywhere and no biases, half the squared error, initial weights in
        [-1, 1), and plain gradient descent after every sample. In float64 it learns the same as
        gopher-neural's, apart from rounding.

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
    def activations(self) -> tuple[Activation, ...]:
        """Activation of each hidden layer."""
        if isinstance(self.activation, str):
            return (self.activation,) * len(self.hidden)
        return self.activation

    @property
    def rehearses(self) -> bool:
        """Whether earlier samples are ever learned again."""
        return self.rehearsal > 0 or self.early_rehearsal > 0

    def output_for(self, task: Task) -> Output:
        """Activation of the output layer for ``task``."""
        if self.output:
            return self.output
        if task is Task.REGRESSION:
            return "identity"
        return "softmax" if self.loss_for(task) == "cross_entropy" else "logistic"

    def loss_for(self, task: Task) -> Loss:
        """Loss for ``task``."""
        return self.loss or ("cross_entropy" if task is Task.CLASSIFICATION else "huber")

    def rehearsal_tolerance_for(self, task: Task) -> float:
        """Error of outputs below which ``task`` does not learn an earlier sample again."""
        if self.rehearsal_tolerance is not None:
            return self.rehearsal_tolerance
        return _LABEL_TOLERANCE if task is Task.CLASSIFICATION else 0.0

    def for_task(self, task: Task) -> CandidateSettings:
        """These settings, with those reset that do not apply to ``task``.

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
                others = format_choices(other for other in names if other != of_labels)
                raise ConfigurationError(
                    f"{name} is {of_labels!r}, but for a {task} must be {others}"
                )
        return replace(self, class_weight=0.0)

    def describe(self) -> str:
        """Short description for a leader board."""
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


def describe_networks(settings: Sequence[CandidateSettings]) -> str:
    """Describe the networks of a model in a few words, by the settings of the first one."""
    words, others = settings[0].describe(), len(settings) - 1
    return f"{words} and {others} more" if others else words
