"""Where the parts of a key's row are, what a new key starts with, and how rows grow.

A row is one of float64, with the moments, losses and least squares of a key, and two of float32,
the weights and optimizer states of its network. More inputs or outputs make rows longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamnet.keyed.rows import RowShape
from streamnet.networks.initialization import fill_section
from streamnet.networks.parameters import aligned_zeros, plan_candidate
from streamnet.networks.topology import Capacity, Section
from streamnet.samples import Task
from streamnet.settings.candidate import CandidateSettings

MAX_INPUTS = 24  # dense inputs of the encoder that the models of keys see, the first ones
MAX_OUTPUTS = 32  # labels that they learn, the first ones
FORGETTING = np.array([0.9995, 0.97])  # factors of the two least squares
RIDGE = 4.0  # samples that the prior of a coefficient, which is 0, counts as
EXPERTS = 6
NETWORK = CandidateSettings(hidden=(16,), optimizer="adagrad", learning_rate=0.05)


class Head(NamedTuple):
    """Columns of a row that every key has, whatever its inputs."""

    samples: int = 0  # with a target so far
    squares: int = 1  # faded sum of squared residuals, and how many it stands for
    faded: int = 2
    level: int = 3  # running mean of the residuals
    last: int = 4  # the last target and the one before; of labels, the number of the last one + 1
    before: int = 5
    residual: int = 6  # that of the last sample and of the one before
    residual_before: int = 7
    taken: int = 8  # steps of the network
    loss: int = 9  # sums: losses of the key's and the shared model
    shared_loss: int = 10
    error: int = 11  # of squared errors, or wrong labels
    shared_error: int = 12
    weight: int = 13  # of the samples in these sums
    recent: int = 14  # faded loss, and the weight of its samples
    recent_weight: int = 15
    drift_count: int = 16  # this and the next four: the Page-Hinkley test
    drift_mean: int = 17
    drift_squares: int = 18
    drift_sum: int = 19
    drift_least: int = 20
    drifts: int = 21  # how many were detected, and after how many samples the last one
    drift_at: int = 22
    same: int = 23  # faded number of labels that equal the one before
    product: int = 24  # faded sums of correction times residual, and of squared corrections
    power: int = 25
    mean: int = 26  # running mean of the targets
    unit: int = 27  # that of the least squares, see `numbers`


HEAD = Head()


class Places(NamedTuple):
    """Offsets of the parts of a row that depend on the number of inputs and outputs."""

    inputs: int  # dense inputs, d
    outputs: int  # c
    features: int  # of the least squares, f
    means: int  # d
    deviations: int  # d, sums of squares
    experts: int  # EXPERTS faded losses
    frequencies: int  # c faded counts of labels; none of numbers
    first: int  # the first least squares: f x c coefficients, then the packed covariance
    each: int  # size of one least squares
    width: int


# 1, two residuals, and how far two last targets and the mean are from the shared prediction
NUMBER_FEATURES = 6


def place(task: Task, inputs: int, outputs: int) -> Places:
    """Divide a row for so many inputs and outputs."""
    numeric = task is Task.REGRESSION
    features = (NUMBER_FEATURES if numeric else 1) + inputs
    means = len(HEAD)
    experts = means + 2 * inputs
    frequencies = experts + EXPERTS
    first = frequencies + (0 if numeric else outputs)
    each = features * outputs + features * (features + 1) // 2
    return Places(
        inputs,
        outputs,
        features,
        means,
        means + inputs,
        experts,
        frequencies,
        first,
        each,
        first + len(FORGETTING) * each,
    )


class RowLayout(NamedTuple):
    """How rows are divided, what the network's kernels know of it, and a new key's row."""

    task: Task
    places: Places
    plan: NDArray[np.int64]
    factors: NDArray[np.float64]
    sections: tuple[Section, ...]  # of the network's weights, and so of its states
    scratch: int  # working memory of the network
    shape: RowShape


@lru_cache(maxsize=32)
def build_row_layout(task: Task, inputs: int, outputs: int) -> RowLayout:
    """The layout for so many inputs and outputs; all keys begin with the same row."""
    places = place(task, inputs, outputs)
    capacity = Capacity(count_network_inputs(places, task), 0, outputs)
    settings = NETWORK.for_task(task)
    draft = plan_candidate(settings, task, capacity)
    weights, states = (np.zeros(size, np.float32) for size in draft.sizes)
    for section in draft.sections:
        matrix = weights[section.offset :][: section.rows * section.width]
        fill_section(
            matrix.reshape(section.rows, section.width),
            section,
            settings,
            seed=0,
            serial=0,
            fan_in=max(8, capacity.dense),
        )
    shape = RowShape(f"{inputs},{outputs}", (_initial_numbers(places), weights, states))
    sections = tuple(draft.sections)
    return RowLayout(task, places, draft.plan, draft.factors, sections, draft.scratch, shape)


def count_network_inputs(places: Places, task: Task) -> int:
    """Inputs of a key's network: the features but the 1; of labels, also the shared log-odds."""
    return places.features - 1 + (0 if task is Task.REGRESSION else places.outputs)


def _initial_numbers(places: Places) -> NDArray[np.float64]:
    row = np.zeros(places.width)
    for number in range(len(FORGETTING)):
        at = places.first + number * places.each + places.features * places.outputs
        for feature in range(places.features):
            row[at] = 1.0 / RIDGE
            at += places.features - feature
    return row


def convert_row(layout: RowLayout, label: str, row: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """A row of fewer inputs or outputs in the present layout; the rest is that of a new key."""
    inputs, outputs = map(int, label.split(","))
    old = build_row_layout(layout.task, inputs, outputs)
    new = [initial.copy() for initial in layout.shape.initial]
    _convert_numbers(old.places, layout.places, row[0], new[0])
    feature = np.arange(count_network_inputs(old.places, old.task) + 1)
    # The log-odds of labels come last: they move behind the new inputs.
    feature[old.places.features :] += layout.places.features - old.places.features
    for before, after in zip(old.sections, layout.sections, strict=True):
        for given, made in zip(row[1:], new[1:], strict=True):
            source = given[before.offset :][: before.rows * before.width]
            target = made[after.offset :][: after.rows * after.width]
            kept = source.reshape(before.rows, before.width)[:, : before.units]
            rows = feature if before.name == "first" else np.arange(before.rows)
            matrix = target.reshape(after.rows, after.width)
            matrix[rows, : before.units] = kept
    return new


def _convert_numbers(
    old: Places, new: Places, row: NDArray[np.float64], out: NDArray[np.float64]
) -> None:
    out[: len(HEAD)] = row[: len(HEAD)]
    parts = (
        (old.means, new.means, old.inputs),
        (old.deviations, new.deviations, old.inputs),
        (old.experts, new.experts, EXPERTS),
        (old.frequencies, new.frequencies, old.first - old.frequencies),
    )
    for source, target, size in parts:
        out[target : target + size] = row[source : source + size]
    for number in range(len(FORGETTING)):
        source, target = (p.first + number * p.each for p in (old, new))
        kept = row[source : source + old.features * old.outputs]
        made = out[target : target + new.features * new.outputs]
        made.reshape(new.features, new.outputs)[: old.features, : old.outputs] = kept.reshape(
            old.features, old.outputs
        )
        source += old.features * old.outputs
        target += new.features * new.outputs
        for feature in range(old.features):
            size = old.features - feature
            out[target : target + size] = row[source : source + size]
            source += size
            target += new.features - feature


def new_scratch(layout: RowLayout) -> NDArray[Any]:
    """Working memory of a network's kernels."""
    return aligned_zeros(layout.scratch, np.dtype(np.float32))
