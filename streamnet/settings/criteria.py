"""Names of the criteria by which candidates are compared, and the tasks each is for."""

from __future__ import annotations

from streamnet.errors import ConfigurationError
from streamnet.samples import Task

__all__ = ("CRITERION_TASKS", "check_criterion")

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
    """The name of a criterion in `CRITERION_TASKS`; ``f_measure`` is another name of ``f1``.

    Args:
        name: The criterion.
        task: What candidates predict, if that is known.

    Raises:
        ConfigurationError: There is no such criterion, or it is not defined for the task.

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
