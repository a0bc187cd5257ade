"""Intervals and sets travel with a model, in every format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamnet.errors import ConfigurationError, ModelFileError
from streamnet.modelfiles import Model
from streamnet.modelfiles.document import digest
from streamnet.samples import Task
from tests.learning.streams import differences
from tests.modelfiles.models import SAMPLES, block_of, learned, several

TASKS = pytest.mark.parametrize("task", list(Task))


@TASKS
@pytest.mark.parametrize("suffix", ["json", "safetensors"])
def test_a_model_read_from_a_file_predicts_the_same_intervals(
    tmp_path: Path, task: Task, suffix: str
) -> None:
    model = learned(task, interval=0.8).model()
    path = tmp_path / f"m.{suffix}"
    model.save(path)
    loaded = Model.load(path)
    assert loaded.interval == 0.8
    assert differences(loaded.document(), model.document()) == []
    outputs = model.outputs(SAMPLES)
    assert np.array_equal(loaded.intervals(outputs), model.intervals(outputs))


@TASKS
@pytest.mark.parametrize("serve", ["ensemble", "champion"])
def test_a_model_predicts_the_intervals_of_its_learner(task: Task, serve: str) -> None:
    learner, block = learned(task, interval=0.8, serve=serve), block_of(task, 60)
    answers = learner.predict(block, without_lags=True)
    expected = learner.predict_intervals(answers, without_lags=True)
    model = learner.model()
    found = model.intervals(model.outputs(block))
    if task is Task.REGRESSION:
        assert found == pytest.approx(expected)
        assert model.predict_interval(block) == pytest.approx(expected)
        inside = (found[:, 0] <= answers) & (answers <= found[:, 1])
        assert inside.mean() > 0.5
    else:
        assert np.array_equal(found, expected)
        sets = model.predict_set(block)
        assert [len(one) for one in sets] == found.sum(axis=1).tolist()
        assert set().union(*sets) <= set(model.labels)


def test_a_model_without_intervals_says_so() -> None:
    for task, name in ((Task.REGRESSION, "predict_interval"), (Task.CLASSIFICATION, "predict_set")):
        model = several(task)
        assert model.interval is None
        assert "intervals" not in model.document()
        with pytest.raises(ConfigurationError, match=f"interval was not given .* {name} needs it"):
            getattr(model, name)(SAMPLES)


def test_numbers_have_no_sets_and_labels_no_bounds() -> None:
    with pytest.raises(ConfigurationError, match="predict_set needs classification"):
        several(Task.REGRESSION).predict_set(SAMPLES)
    with pytest.raises(ConfigurationError, match="predict_interval needs regression"):
        several(Task.CLASSIFICATION).predict_interval(SAMPLES)


@TASKS
@pytest.mark.parametrize(
    "damage",
    [
        {"level": 1.5},
        {"level": None},
        {"state": np.zeros((1, 9))},
        {"state": np.full((1, 3), np.nan)},
        {"state": None},
        {"state": np.zeros((1, 3), np.float32)},
    ],
)
def test_damaged_intervals_are_refused(task: Task, damage: dict[str, Any]) -> None:
    document = learned(task, interval=0.8).model().document()
    document["intervals"] = {**document["intervals"], **damage}
    document["checksum"] = digest(document)
    with pytest.raises(ModelFileError, match="intervals: "):
        Model.from_document(document, "m")
