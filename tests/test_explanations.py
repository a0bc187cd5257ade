"""Explanations are what plain loops over predictions of changed samples say."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pytest

import streamnet
from streamnet.errors import ConfigurationError, DataError
from streamnet.explanations import MAX_OCCLUSIONS, find_effects, measure_effects
from streamnet.modelfiles import Model
from streamnet.samples import Block
from streamnet.sources.columns import Columns
from streamnet.sources.rows import RowReader
from tests.online.estimators import FEW

Rows = list[dict[str, Any]]


@cache
def learned(task: str) -> tuple[Model, Rows, list[Any]]:
    """A model for which x and shape matter, and noise does not."""
    draw = np.random.default_rng(0)
    rows: Rows = [
        {"x": float(x), "shape": "round" if flat > 0.5 else "flat", "noise": float(noise)}
        for x, flat, noise in draw.random((1500, 3))
    ]
    numbers = [3 * row["x"] + (row["shape"] == "flat") for row in rows]
    if task == "regression":
        regressor = streamnet.OnlineRegressor(FEW, seed=1).partial_fit(rows, numbers)
        return regressor.model(), rows[-200:], numbers[-200:]
    labels = [int(number > 2) for number in numbers]
    classifier = streamnet.OnlineClassifier(FEW, seed=1).partial_fit(rows, labels)
    return classifier.model(), rows[-200:], labels[-200:]


def read_outputs(model: Model, rows: Rows) -> np.ndarray[Any, Any]:
    if model.task == "regression":
        return model.predict(rows)[:, None]
    return model.predict_proba(rows)


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_an_explanation_is_the_loss_without_each_column(task: str) -> None:
    model, rows, _ = learned(task)
    sample = {**rows[0], "unknown": 3}
    effects = streamnet.explain(model, sample)
    before = read_outputs(model, [rows[0]])[0]
    place = int(before.argmax())
    for name in rows[0]:
        without = read_outputs(model, [{**rows[0], name: None}])[0]
        assert effects[name] == before[place] - without[place]
    assert effects["unknown"] == 0.0
    assert list(effects) == list(sample)


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_importance_is_the_mean_rise_of_the_error_by_permutations(task: str) -> None:
    model, rows, targets = learned(task)
    found = streamnet.permutation_importance(model, rows, targets, repeats=3, seed=5)
    assert found["column"].to_list()[-1] == "noise"
    assert found["importance"].is_sorted(descending=True)

    def error(changed: Rows) -> float:
        outputs = read_outputs(model, changed)
        if task == "regression":
            return float(np.abs(outputs[:, 0] - targets).mean())
        places = [model.classes.index(target) for target in targets]
        return 1.0 - float(outputs[np.arange(len(changed)), places].mean())

    draw = np.random.default_rng(5)
    orders = [draw.permutation(len(rows)) for _ in range(3)]
    for name, importance, deviation in found.iter_rows():
        rises = [
            error([{**row, name: rows[k][name]} for row, k in zip(rows, order, strict=True)])
            - error(rows)
            for order in orders
        ]
        assert importance == pytest.approx(np.mean(rises), abs=1e-12)
        assert deviation == pytest.approx(np.std(rises), abs=1e-12)


@pytest.mark.parametrize("task", ["regression", "classification"])
@pytest.mark.parametrize("column", ["x", "shape"])
def test_partial_dependence_is_the_mean_prediction_with_a_value_in_all_samples(
    task: str, column: str
) -> None:
    model, rows, _ = learned(task)
    found = streamnet.partial_dependence(model, rows, column, points=5)
    values = found["value"].to_list()
    if column == "x":
        numbers = [row["x"] for row in rows]
        assert values == pytest.approx(np.quantile(numbers, [0, 0.25, 0.5, 0.75, 1]).tolist())
    else:
        assert set(values) == {"round", "flat"}
    for value, *means in found.iter_rows():
        changed = [{**row, column: value} for row in rows]
        assert means == pytest.approx(read_outputs(model, changed).mean(0).tolist(), abs=1e-12)
    given = streamnet.partial_dependence(model, rows, column, values=values)
    assert given.equals(found)


def test_samples_may_be_a_data_frame() -> None:
    model, rows, targets = learned("regression")
    frame = pl.DataFrame(rows)
    by_rows = streamnet.permutation_importance(model, rows, targets)
    assert streamnet.permutation_importance(model, frame, targets).equals(by_rows)


def test_what_cannot_be_explained_is_refused_by_name() -> None:
    model, rows, targets = learned("regression")
    with pytest.raises(ConfigurationError, match=r"column is 'z', but must be one of .*noise"):
        streamnet.partial_dependence(model, rows, "z")
    with pytest.raises(ConfigurationError, match="points is 0, but must be >= 1"):
        streamnet.partial_dependence(model, rows, "x", points=0)
    with pytest.raises(ConfigurationError, match="repeats is 0, but must be >= 1"):
        streamnet.permutation_importance(model, rows, targets, repeats=0)
    with pytest.raises(DataError, match="X has 200 samples, but y has 3"):
        streamnet.permutation_importance(model, rows, targets[:3])
    with pytest.raises(DataError, match="X is empty"):
        streamnet.permutation_importance(model, [], [])


def test_the_columns_that_matter_are_found_among_thousands_by_few_predictions() -> None:
    rng = np.random.default_rng(1)
    names = [f"c{i}" for i in range(4000)]
    row = RowReader(Columns()).read([dict.fromkeys(names, 1.0) | {"word": "on"}])
    effects = np.zeros(4000)
    chosen = rng.choice(4000, 6, replace=False)
    effects[chosen] = [5.0, -4.0, 3.0, 2.5, -2.0, 1.5]
    predicted = 0

    def predict(block: Block) -> list[float]:
        nonlocal predicted
        predicted += len(block)
        there = np.isfinite(block.numbers)
        assert list(block.schema.numbers) == names
        outputs: list[float] = (there @ effects).tolist()
        return outputs

    asked = [*names, "word", "unheard"]
    found = find_effects(row, asked, predict, float(effects.sum()))
    assert predicted <= MAX_OCCLUSIONS
    assert {name: effect for name, effect in found.items() if effect} == pytest.approx(
        {f"c{i}": effects[i] for i in chosen}
    )
    assert list(found) == sorted(found, key=asked.index)
    few = [*names[:200], "word", "unheard"]
    every = find_effects(row, few, predict, float(effects.sum()))
    assert every == measure_effects(row, few, predict, float(effects.sum()))
    assert every.keys() == set(few)
