"""Settings of learning: evaluation, the choice of the champion, and the search for candidates."""

from __future__ import annotations

from typing import Annotated, Literal, final

from annotated_types import Gt, Le

from streamnet.errors import ConfigurationError
from streamnet.samples import Task
from streamnet.settings.fields import Check, Count, Positive, Probability, Settings, Size, declare

DriftMethod = Literal["adwin", "page_hinkley", "ddm", "hddm_a", "hddm_w", "none"]
Serving = Literal["ensemble", "champion"]
Criterion = Literal[
    "accuracy",
    "balanced_accuracy",
    "f1",
    "f_measure",
    "simple",
    "distance",
    "log_loss",
    "kappa",
    "mse",
    "mae",
    "gopher.accuracy",
    "gopher.balanced_accuracy",
    "gopher.f_measure",
    "gopher.simple",
    "gopher.distance",
]

_LABELS, _NUMBERS = (Task.CLASSIFICATION,), (Task.REGRESSION,)
_BOTH = (*_LABELS, *_NUMBERS)
_ALIASES = {"f_measure": "f1"}

CRITERION_TASKS: dict[str, tuple[Task, ...]] = {
    "accuracy": _LABELS,
    "balanced_accuracy": _LABELS,
    "f1": _LABELS,
    "simple": _BOTH,
    "distance": _BOTH,
    "log_loss": _LABELS,
    "kappa": _LABELS,
    "mse": _NUMBERS,
    "mae": _NUMBERS,
    "gopher.accuracy": _LABELS,
    "gopher.balanced_accuracy": _LABELS,
    "gopher.f_measure": _LABELS,
    "gopher.simple": _BOTH,
    "gopher.distance": _BOTH,
}
"""The tasks that each criterion is defined for; `streamnet.selection.criteria` computes them."""


def check_criterion(name: str, task: Task | str | None = None) -> str:
    """The name of a criterion in `CRITERION_TASKS`; ``f_measure`` is an alias of ``f1``.

    Args:
        name: The criterion.
        task: What is predicted, if known.

    Raises:
        ConfigurationError: If there is no such criterion, or it is not defined for the task.

    >>> check_criterion("accuracy", "regression")
    Traceback (most recent call last):
        ...
    streamnet.errors.ConfigurationError: criterion is 'accuracy', but for a regression must be one
    of distance, gopher.distance, gopher.simple, mae, mse, simple
    """
    known = _ALIASES.get(name, name)
    fitting = [one for one, tasks in CRITERION_TASKS.items() if task is None or task in tasks]
    if known not in fitting:
        whose = "" if task is None else f"for a {Task(task)} "
        names = ", ".join(sorted(fitting))
        raise ConfigurationError(f"criterion is {name!r}, but {whose}must be one of {names}")
    return known


@declare
class EvaluationSettings(Settings):
    """Horizons of the metrics, and the drift detector.

    Args:
        window: Samples in the sliding window of the metrics.
        fading: Fading factor: weight of a sample after each further one, in the fading metrics and
            in the choice of the champion.
        drift: Detector of drift in the loss of the served predictions, or none.
    """

    window: Count = 1000
    fading: Annotated[float, Gt(0), Le(1)] = 0.999
    drift: DriftMethod = "adwin"


@declare
class SelectionSettings(Settings):
    """What serves predictions, and what makes a challenger champion.

    Args:
        serve: What serves predictions: the ensemble or the champion.
        criterion: Criterion of the champion: for labels log_loss (probabilities clipped at 0.0001),
            accuracy, balanced_accuracy (the ensemble then predicts as if classes were equally
            frequent) or distance; for numbers mae, mse or distance; or one of gopher-neural's, such
            as gopher.accuracy; by default log_loss, for numbers mae.
        margin: Fraction by which a challenger must be better at the start of the stream.
        alpha: Level of the test by which a challenger becomes champion later on.
    """

    serve: Serving = "ensemble"
    criterion: Annotated[Criterion | None, Check(check_criterion)] = None
    margin: Probability = 0.02
    alpha: Annotated[float, Gt(0), Le(1)] = 0.05


@declare
class SearchSettings(Settings):
    """The search for better candidates.

    Args:
        every: Rounds of 1,024 samples between two new networks; 0 for none; by default 4, or 0 if
            the candidates are given.
        grace: Rounds in which a new network cannot be replaced.
        budget: Microseconds a sample that all networks together may take, by a model of their cost;
            by default that of the initial networks.
    """

    every: Size = 4
    grace: Size = 8
    budget: Positive | None = None


@final
@declare
class LearningSettings(EvaluationSettings, SelectionSettings):
    """Settings of evaluation and selection together."""
