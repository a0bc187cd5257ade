"""Explaining an answer by occlusion: how it changes where an input is missing.

References:
    M. D. Zeiler, R. Fergus. Visualizing and Understanding Convolutional Networks. ECCV 2014; there
    a part of a picture is covered, here one column is.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from math import nan

from streamnet.daemon.answers import Predictions
from streamnet.samples import Sample

__all__ = ("explanations",)


def explanations(
    predict: Callable[[Sequence[Sample]], Predictions],
    samples: Sequence[Sample],
    said: Predictions,
) -> list[dict[str, float]]:
    """For each sample and each of its columns, what the answer loses where the column is missing.

    That is the share of the answered label, or the number: above 0, the column speaks for the
    label, or makes the number larger. What the model is given for a missing value is the mean of a
    number, and no category at all. Columns are covered one by one, so what two of them say alike
    counts for neither.

    Args:
        predict: What answers samples.
        samples: What was answered.
        said: The answers.

    >>> import numpy as np
    >>> def predict(samples):
    ...     values = np.array([3.0 * (sample.get("x") or 0) for sample in samples])
    ...     return Predictions(values, None, (), 1)
    >>> samples = [{"x": 2, "y": 5}]
    >>> explanations(predict, samples, predict(samples))
    [{'x': 6.0, 'y': 0.0}]
    """
    covered = [{**sample, name: None} for sample in samples for name in sample]
    if not covered:
        return [{} for _ in samples]
    changed = predict(covered)
    found = []
    place = 0
    for number, sample in enumerate(samples):
        before = _worth(said, number, said, number)
        effects = {}
        for name in sample:
            effects[name] = before - _worth(changed, place, said, number)
            place += 1
        found.append(effects)
    return found


def _worth(answers: Predictions, row: int, said: Predictions, answered: int) -> float:
    """What ``answers`` has in a row for the answer that ``said`` has given."""
    if answers.shares is None:
        return float(answers.values[row])
    label = said.values[answered]
    # Another model may have been published meanwhile, which knows more labels.
    if label is None or label not in answers.labels:
        return nan
    return float(answers.shares[row, answers.labels.index(label)])
