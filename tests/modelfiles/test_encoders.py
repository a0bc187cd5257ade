"""Models of every way to encode: they come back from a file with the same answers."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamnet.errors import ModelFileError
from streamnet.learning.learner import Learner
from streamnet.modelfiles import Model
from streamnet.samples import Block, Field, Kind, Schema, Task
from streamnet.settings.candidate import CandidateSettings
from tests.learning.streams import differences
from tests.modelfiles.models import SAMPLES, block_of

WAYS: dict[str, Any] = {
    "ranks": {"scaling": "rank", "scalings": {"size": "robust"}},
    "extremes": {"scaling": "minmax", "duplicates": "drop"},
    "raw": {"scaling": "none"},
    "tokens": {"texts": {"note": "tokens"}},
    "chosen": {"text": "auto"},
}


@cache
def model_of(way: str) -> Model:
    settings = CandidateSettings(hidden=(4,), optimizer="adam")
    learner = Learner(task=Task.CLASSIFICATION, candidates=[settings], encoder=WAYS[way], seed=2)
    learner.learn(block_of(Task.CLASSIFICATION))
    return learner.model()


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
@pytest.mark.parametrize("way", WAYS)
def test_a_model_keeps_its_way_to_encode(tmp_path: Path, way: str, suffix: str) -> None:
    model = model_of(way)
    path = tmp_path / f"model.{suffix}"
    model.save(path)
    again = Model.load(path)
    assert differences(again.document(), model.document()) == []
    assert np.array_equal(again.outputs(SAMPLES), model.outputs(SAMPLES))


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
def test_a_column_without_any_number_has_extremes_that_a_file_keeps(
    tmp_path: Path, suffix: str
) -> None:
    schema = Schema((Field("x", Kind.NUMBER), Field("gap", Kind.NUMBER)), "y", Task.REGRESSION)
    numbers = np.array([[0.0, np.nan], [1.0, np.nan]])
    block = Block(schema, "-", numbers, (), np.array([0.0, 1.0]), np.zeros((3, 3), np.int64))
    learner = Learner(
        task=Task.REGRESSION,
        candidates=[CandidateSettings(hidden=(4,))],
        encoder={"scaling": "minmax"},
    )
    learner.learn(block)
    model = learner.model()
    model.save(tmp_path / f"model.{suffix}")
    again = Model.load(tmp_path / f"model.{suffix}")
    assert again.document()["encoder"]["extremes"].tolist() == [[0.0, 1.0], [np.inf, -np.inf]]
    assert again.document()["checksum"] == model.document()["checksum"]


@pytest.mark.parametrize(
    ("way", "part"),
    [
        ("ranks", "summaries"),
        ("extremes", "extremes"),
        ("extremes", "compared_products"),
        ("tokens", "texts"),
        ("tokens", "text_vocabularies"),
    ],
)
def test_a_file_without_what_its_encoder_needs_is_refused(way: str, part: str) -> None:
    document = model_of(way).document()
    document["encoder"] = {k: v for k, v in document["encoder"].items() if k != part}
    with pytest.raises(ModelFileError, match=f"encoder.*{part}"):
        Model.from_document(document)
