"""Criteria: by which one number candidates are compared on samples that they did not learn.

All are computed from a `Tally` of many candidates at once. Those under ``gopher.`` are the ones of
gopher-neural as it computes them, for those who want to compare; the others are the usual ones:

================= ======================================== ===================================
criterion         here                                     ``gopher.``
================= ======================================== ===================================
accuracy          right / n                                mean over classes of (TP + TN) / n,
                                                           which is 1 - 2 wrong / (n C)
balanced_accuracy mean recall over classes that occur      mean over all classes of
                                                           (recall + specificity) / 2
f1, f_measure     mean of 2 TP / (2 TP + FP + FN) over     the same over all classes, 0 for
                  classes that are truth or answer         one that is neither
simple            right / n; for numbers the share of      the same
                  answers less than a threshold away
distance          mean over samples of half the squared    the same
                  error, summed over outputs
kappa             agreement beyond chance                  -
log_loss          mean of -log(max(probability of the      -
                  truth, 1e-4))
mse, mae          mean squared and mean absolute error     -
================= ======================================== ===================================

In gopher-neural accuracy, balanced accuracy and F-measure of a regression are always 0, so that the
first network wins; here they are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple
from typing import final

import numpy as np
from numpy.typing import ArrayLike
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError
from streamnet.evaluation import gopher
from streamnet.evaluation import measures
from streamnet.evaluation.measures import Counts
from streamnet.samples import Task

__all__ = ("CRITERIA", "Criterion", "Tally", "criterion")

Values = NDArray[np.float64]


class Tally(NamedTuple):
    """What K candidates did on the same samples, as counts and sums, all float64."""

    confusion: Values  # shape=(K, C, C + 1): rows truth, columns answer, last none; numbers: C = 0
    samples: Values  # shape=(K,)
    correct: Values  # shape=(K,), right labels, or numbers within the threshold
    distance: Values  # shape=(K,), half squared errors, summed over outputs
    log_loss: Values  # shape=(K,), summed
    absolute: Values  # shape=(K,), summed absolute errors of numbers
    squared: Values  # shape=(K,), summed squared errors of numbers


@final
@dataclass(frozen=True)
class Criterion:
    """A number by which candidates are compared.

    >>> correct = np.array([6.0, 8.0, 8.0])
    >>> zeros = np.zeros(3)
    >>> tally = Tally(np.zeros((3, 0, 1)), np.full(3, 10.0), correct, *[zeros] * 4)
    >>> simple = criterion("simple")
    >>> simple.values(tally), simple.best(simple.values(tally))
    (array([0.6, 0.8, 0.8]), 1)
    """

    name: str
    larger_is_better: bool
    tasks: tuple[Task, ...]
    values: Callable[[Tally], Values]  # float64 (K,), NaN for candidates without samples

    def best(self, values: ArrayLike) -> int:
        """The number of the best of ``values`` (K,), the first of equals; -1 if none is finite."""
        numbers = np.asarray(values, np.float64)
        finite = np.isfinite(numbers)
        if not finite.any():
            return -1
        worst = -np.inf if self.larger_is_better else np.inf
        numbers = np.where(finite, numbers, worst)
        return int(numbers.argmax() if self.larger_is_better else numbers.argmin())

    def better(self, value: float, than: float) -> bool:
        """Whether ``value`` replaces ``than``: strictly better, so that the older of equals stays.

        Nothing that is not finite is better than anything; anything finite is better than that.
        """
        return self.best((than, value)) == 1


def criterion(name: str, task: Task | str | None = None) -> Criterion:
    """The criterion of a name in `CRITERIA`.

    Args:
        name: As in the table of this module; ``f_measure`` is another name of ``f1``.
        task: What it is to judge, if that is known.

    Raises:
        ConfigurationError: If there is none of that name, or it is not for that task.

    >>> criterion("accuracy", "regression")
    Traceback (most recent call last):
        ...
    streamnet.errors.ConfigurationError: criterion is 'accuracy', but for a regression must be one
    of distance, gopher.distance, gopher.simple, mae, mse, simple
    """
    found = CRITERIA.get({"f_measure": "f1"}.get(name, name))
    fitting = [one.name for one in CRITERIA.values() if task is None or task in one.tasks]
    if found is None or found.name not in fitting:
        whose = "" if task is None else f"for a {Task(task)} "
        names = ", ".join(sorted(fitting))
        raise ConfigurationError(f"criterion is {name!r}, but {whose}must be one of {names}")
    return found


def _counted(measure: Callable[[Counts], Values]) -> Callable[[Tally], Values]:
    return lambda tally: measure(Counts.of(tally.confusion))


def _averaged(part: str) -> Callable[[Tally], Values]:
    return lambda tally: measures.mean(getattr(tally, part), tally.samples)


LABELS = (Task.CLASSIFICATION,)
NUMBERS = (Task.REGRESSION,)
BOTH = (*LABELS, *NUMBERS)


def _named(criteria: Collection[Criterion]) -> dict[str, Criterion]:
    return {one.name: one for one in criteria}


CRITERIA = _named(
    (
        Criterion("accuracy", True, LABELS, _counted(measures.accuracy)),
        Criterion("balanced_accuracy", True, LABELS, _counted(measures.balanced_accuracy)),
        Criterion("f1", True, LABELS, _counted(measures.macro_f1)),
        Criterion("simple", True, BOTH, _averaged("correct")),
        Criterion("distance", False, BOTH, _averaged("distance")),
        Criterion("log_loss", False, LABELS, _averaged("log_loss")),
        Criterion("kappa", True, LABELS, _counted(measures.kappa)),
        Criterion("mse", False, NUMBERS, _averaged("squared")),
        Criterion("mae", False, NUMBERS, _averaged("absolute")),
        Criterion("gopher.accuracy", True, LABELS, _counted(gopher.accuracy)),
        Criterion("gopher.balanced_accuracy", True, LABELS, _counted(gopher.balanced_accuracy)),
        Criterion("gopher.f_measure", True, LABELS, _counted(gopher.f_measure)),
        Criterion("gopher.simple", True, BOTH, _averaged("correct")),
        Criterion("gopher.distance", False, BOTH, _averaged("distance")),
    )
)
"""All criteria by name."""
