"""Why a model predicts what it does: occlusion, permutation importance and partial dependence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import nan
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError, DataError
from streamnet.modelfiles.model import Model
from streamnet.samples import Block, Sample, Schema, Task, concatenate_blocks
from streamnet.sources.columns import format_names
from streamnet.sources.frames import SamplesLike, to_target_list
from streamnet.validation import check_integer, check_seed

# polars is imported where it is used: that takes 0.1 s, and every run imports this module.
if TYPE_CHECKING:
    import polars as pl

MAX_OCCLUDED_VALUES = 1 << 20  # of columns times rows predicted at a time
MAX_OCCLUSIONS = 256  # predictions to explain one by `find_effects`
_SPLIT_INTO = 8


def explain(model: Model, sample: Sample) -> dict[str, float]:
    """Explain a prediction by what it loses when a column of its sample is missing.

    What is lost is probability of the predicted label, or the number: above 0, the column speaks
    for the label, or makes the number larger. A missing number is replaced by its mean, a missing
    category by none. Columns are occluded one at a time, so information that two columns share
    counts for neither; a column that the model does not know has 0. Zeiler and Fergus, "Visualizing
    and understanding convolutional networks", ECCV 2014, section 4.2, for columns.

    Args:
        model: The model.
        sample: Features by name.

    Returns:
        The loss by column.

    Raises:
        DataError: If a value cannot be read, or the model knows no column of the sample.

    >>> import streamnet
    >>> learner = streamnet.OnlineRegressor(seed=1)
    >>> for x in range(300):
    ...     learner.learn_one({"x": x % 10, "y": x % 3}, 2.0 * (x % 10))
    >>> effects = explain(learner.model(), {"x": 9, "y": 1})
    >>> round(effects["x"]), round(effects["y"])
    (9, 0)
    """
    (row,) = model.read_blocks([sample], "warn")
    before = model.outputs(row)
    place = 0 if model.task is Task.REGRESSION else int(model.decide(before)[0])

    def predict(block: Block) -> list[float]:
        outputs: list[float] = model.outputs(block)[:, place].tolist()
        return outputs

    return measure_effects(row, list(sample), predict, float(before[0, place]))


def measure_effects(
    row: Block, names: Sequence[str], predict: Callable[[Block], Sequence[float]], before: float
) -> dict[str, float]:
    """How much smaller an output is without a column, by the name of the column.

    Args:
        row: A block of one sample.
        names: The columns; one that the block does not have has 0.
        predict: Computes the output for each row of a block.
        before: The output for the sample itself.
    """
    effects = dict.fromkeys(names, 0.0)
    known = [name for name, _ in row.schema.fields if name in effects]
    size = max(1, MAX_OCCLUDED_VALUES // max(1, len(row.schema.fields)))
    for part in (known[start : start + size] for start in range(0, len(known), size)):
        outputs = predict(_occlude(row, part))
        effects |= {name: before - out for name, out in zip(part, outputs, strict=True)}
    return effects


def find_effects(
    row: Block, names: Sequence[str], predict: Callable[[Block], Sequence[float]], before: float
) -> dict[str, float]:
    """`measure_effects` by at most `MAX_OCCLUSIONS` predictions, however many columns there are.

    Beyond so many columns, groups of neighbors are occluded instead, and those with the largest
    effects are split, until single columns are left; columns of other groups are not in the result.
    Columns of one group whose effects cancel out are overlooked.
    """
    fields = {name for name, _ in row.schema.fields}
    known = [name for name in names if name in fields]
    if len(known) <= MAX_OCCLUSIONS:
        return measure_effects(row, names, predict, before)
    effects: dict[str, float] = {}
    groups: list[tuple[float, list[str]]] = []  # effect and columns of those that may be split
    parts, left = _split(known, MAX_OCCLUSIONS // 4), MAX_OCCLUSIONS
    while parts:
        left -= len(parts)
        outputs = predict(_occlude_groups(row, parts))
        for part, output in zip(parts, outputs, strict=True):
            if len(part) == 1:
                effects[part[0]] = before - output
            else:
                groups.append((before - output, part))
        groups.sort(key=lambda group: abs(group[0]))  # NaN nowhere in particular
        parts = []
        while groups and len(parts) + _SPLIT_INTO <= min(left, MAX_OCCLUSIONS // 4):
            parts += _split(groups.pop()[1], _SPLIT_INTO)
    return {name: effects[name] for name in known if name in effects}


def _split(names: Sequence[str], count: int) -> list[list[str]]:
    """Split columns into so many groups of neighbors, or into single ones."""
    bounds = np.linspace(0, len(names), min(count, len(names)) + 1).round().astype(int).tolist()
    return [list(names[start:stop]) for start, stop in pairwise(bounds)]


def _occlude(row: Block, names: Sequence[str]) -> Block:
    """Copies of a block's only row, each without the value of one column."""
    return _occlude_groups(row, [(name,) for name in names])


def _occlude_groups(row: Block, groups: Sequence[Sequence[str]]) -> Block:
    """Copies of a block's only row, each without the values of a group of columns."""
    block = row.take(np.zeros(len(groups), np.intp))
    numbers = {name: place for place, name in enumerate(row.schema.numbers)}
    words = dict(zip(row.schema.words, block.words, strict=True))
    for place, group in enumerate(groups):
        for name in group:
            if name in numbers:
                block.numbers[place, numbers[name]] = nan
            else:
                words[name][place] = None
    return block


def permutation_importance(
    model: Model, X: SamplesLike, y: Sequence[Any], *, repeats: int = 5, seed: int = 0
) -> pl.DataFrame:
    """Measure how much worse samples are predicted once a column is permuted among them.

    Worse by the mean probability of the true label, or by the mean absolute error. Information that
    columns share counts for none of them. Breiman, "Random forests", Machine Learning 45, 2001,
    section 10. For importance over time, call it with recent samples and each new champion.

    Args:
        model: The model.
        X: Samples in any form that `Model.predict` takes.
        y: Their targets, shape=(n,).
        repeats: Number of permutations of each column.
        seed: Random seed of the permutations.

    Returns:
        A row for each column, the most important first: ``column``, ``importance``, the mean over
        the permutations, and ``deviation``, their standard deviation.

    Raises:
        ConfigurationError: If ``repeats`` or ``seed`` is out of range.
        DataError: If a value cannot be read, or there is not one target for each sample.

    >>> import streamnet
    >>> learner = streamnet.OnlineClassifier(seed=1)
    >>> rows = [{"x": i % 10, "y": i % 7} for i in range(400)]
    >>> labels = [row["x"] > 4 for row in rows]
    >>> model = learner.partial_fit(rows, labels).model()
    >>> permutation_importance(model, rows, labels)["column"].to_list()
    ['x', 'y']
    """
    import polars as pl

    if check_integer("repeats", repeats) < 1:
        raise ConfigurationError(f"repeats is {repeats}, but must be >= 1")
    block, truths = _read(model, X), to_target_list(y)
    if len(truths) != len(block):
        raise DataError(f"X has {len(block)} samples, but y has {len(truths)}")
    draw = np.random.default_rng(check_seed(seed))
    orders = [draw.permutation(len(block)) for _ in range(repeats)]
    found = measure_importance(model, block, truths, _list_columns(block), orders)
    frame = pl.DataFrame(
        {
            "column": list(found),
            "importance": [float(np.mean(losses)) for losses in found.values()],
            "deviation": [float(np.std(losses)) for losses in found.values()],
        },
        schema={"column": pl.String, "importance": pl.Float64, "deviation": pl.Float64},
    )
    return frame.sort("importance", descending=True, maintain_order=True)


def measure_importance(
    model: Model,
    block: Block,
    truths: Sequence[Any],
    columns: Sequence[str],
    orders: Sequence[NDArray[np.intp]],
) -> dict[str, list[float]]:
    """The rise of the error by each permutation of each column, see `permutation_importance`."""
    before = _measure_error(model, block, truths)
    return {
        name: [
            _measure_error(model, _permute(block, name, order), truths) - before for order in orders
        ]
        for name in columns
    }


def _permute(block: Block, name: str, order: NDArray[np.intp]) -> Block:
    return _with_column(block, name, lambda values: values[order])


def _with_column(block: Block, name: str, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Block:
    """The block with other values in one column."""
    schema = block.schema
    if name in schema.numbers:
        place = schema.numbers.index(name)
        numbers = block.numbers.copy()
        numbers[:, place] = change(numbers[:, place])
        return replace(block, numbers=numbers)
    place = schema.words.index(name)
    words = list(block.words)
    words[place] = change(words[place])
    return replace(block, words=tuple(words))


def _fill(block: Block, name: str, value: Any) -> Block:
    return _with_column(block, name, lambda values: np.full_like(values, value))


def _measure_error(model: Model, block: Block, truths: Sequence[Any]) -> float:
    """Mean absolute error, or 1 minus the mean probability of the true label."""
    outputs = model.outputs(block, on_unknown="ignore")
    if model.task is Task.REGRESSION:
        errors = np.abs(outputs.ravel() - np.array(truths, np.float64))
        return float(np.nanmean(errors)) if np.isfinite(errors).any() else 0.0
    numbers = {text: number for number, text in enumerate(model.labels)}
    numbers |= {label: number for number, label in enumerate(model.classes)}
    places = np.array([numbers.get(truth, numbers.get(str(truth), -1)) for truth in truths])
    known = places >= 0
    if not known.any():
        return 0.0
    return 1.0 - float(np.nanmean(outputs[known, places[known]]))


def partial_dependence(
    model: Model,
    X: SamplesLike,
    column: str,
    *,
    values: Sequence[Any] | None = None,
    points: int = 20,
) -> pl.DataFrame:
    """Compute the mean prediction for samples, were a column the same in all of them.

    Friedman, "Greedy function approximation: a gradient boosting machine", Annals of Statistics 29,
    2001, section 8.2. Over time, call it with recent samples and each new champion.

    Args:
        model: The model.
        X: Samples in any form that `Model.predict` takes.
        column: Name of the column.
        values: Its values; None takes quantiles of a number, and the categories by how frequent
            they are in ``X``.
        points: Maximum number of values, if they are not given.

    Returns:
        A row for each value: ``value``, and the mean ``prediction``, or the mean probability of
        each label by its name.

    Raises:
        ConfigurationError: If the model does not know the column, or ``points`` is below 1.
        DataError: If a value cannot be read.

    >>> import streamnet
    >>> learner = streamnet.OnlineRegressor(seed=1)
    >>> rows = [{"x": i % 10, "y": i % 7} for i in range(500)]
    >>> model = learner.partial_fit(rows, [2.0 * row["x"] for row in rows]).model()
    >>> partial_dependence(model, rows, "x", values=[2, 8])["prediction"].round().to_list()
    [4.0, 16.0]
    """
    import polars as pl

    if check_integer("points", points) < 1:
        raise ConfigurationError(f"points is {points}, but must be >= 1")
    block = _read(model, X)
    if column not in _list_columns(block):
        rule = f"must be one of {format_names(_list_columns(block))}"
        raise ConfigurationError(f"column is {column!r}, but {rule}")
    if values is None:
        own = _choose_values(block, column, points)
    else:
        own = _column(_read(model, [{column: value} for value in values]), column)
    means = [np.nanmean(model.outputs(_fill(block, column, value)), axis=0) for value in own]
    names = ["prediction"] if model.task is Task.REGRESSION else list(model.labels)
    table = np.array(means).reshape(len(own), len(names))
    shown = own.tolist() if values is None else list(values)
    return pl.DataFrame({"value": shown, **dict(zip(names, table.T.tolist(), strict=True))})


def _choose_values(block: Block, column: str, points: int) -> NDArray[Any]:
    """Quantiles of a number, or the most frequent categories."""
    import polars as pl

    values = _column(block, column)
    if column in block.schema.numbers:
        known = values[np.isfinite(values)]
        chosen = np.quantile(known, np.linspace(0.0, 1.0, points)) if len(known) else known
        return np.unique(chosen)
    counts = pl.Series(values.tolist(), dtype=pl.String).drop_nulls().value_counts(sort=True)
    return np.array(counts.to_series().head(points).to_list(), object)


def _column(block: Block, name: str) -> NDArray[Any]:
    if name in block.schema.numbers:
        return block.numbers[:, block.schema.numbers.index(name)]
    return block.words[block.schema.words.index(name)]


def _list_columns(block: Block) -> list[str]:
    return [*block.schema.numbers, *block.schema.words]


def _read(model: Model, X: SamplesLike) -> Block:
    """The samples as one block with the columns of the model."""
    blocks = model.read_blocks(X, "warn")
    if not blocks:
        raise DataError("X is empty, but must have samples")
    if any(block.sparse is not None for block in blocks):
        raise ConfigurationError("X has columns by number, for which there is no explanation")
    return concatenate_blocks(blocks, Schema(model.fields))
