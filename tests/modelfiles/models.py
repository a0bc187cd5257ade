"""Small trained models of every kind of field, for the tests of model files.

To make golden files of a new format version: ``python -m tests.modelfiles.models FOLDER``.
"""

from __future__ import annotations

import json
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from streamnet.learning.learner import Learner
from streamnet.modelfiles import Model
from streamnet.modelfiles.document import verify_document
from streamnet.samples import Block, Field, Kind, Schema, SparseRows, Task
from streamnet.settings.candidate import CandidateSettings

__all__ = ("SAMPLES", "SEVERAL", "block_of", "learned", "loaded", "several", "small", "trained")

FIELDS = (
    Field("size", Kind.NUMBER),
    Field("since", Kind.TIME),
    Field("colour", Kind.CATEGORY),
    Field("note", Kind.TEXT),
)
SAMPLES: list[dict[str, Any]] = [
    {"size": 1.5, "since": "2024-02-29T12:00:00Z", "colour": "red", "note": "a large door"},
    {"size": -3, "since": "2024-03-01T06:30:00Z", "colour": "grün", "note": "no such word"},
    {"size": None, "colour": None, "note": ""},
    {"size": None},
]


SEVERAL = (
    CandidateSettings(hidden=(4,), optimizer="adam", rehearsal=1, memory=20),
    CandidateSettings(hidden=(), optimizer="adagrad", learning_rate=0.1),
    CandidateSettings(hidden=(3,), lags=True),
    CandidateSettings(hidden=(5, 3), activation="relu", optimizer="sgd", learning_rate=0.05),
)


def block_of(task: Task, n: int = 150, *, sparse: bool = False) -> Block:
    """Samples with all kinds of fields."""
    rng = np.random.default_rng(5)
    numbers = np.stack((rng.normal(size=n), 1.7e9 + 40_000.0 * np.arange(n)), axis=1)
    numbers[::9, 0] = np.nan
    colours = np.array([("red", "grün", "bl\ud800ue")[i] for i in rng.integers(0, 3, n)], object)
    texts = ("a large door", "the small window", "a door, a window", "")
    notes = np.array([texts[i] for i in rng.integers(0, 4, n)], object)
    colours[::11] = None
    target: Any = np.array([f"{['ja', 'nein'][i]}" for i in rng.integers(0, 2, n)], object)
    if task is Task.REGRESSION:
        target = 10.0 + np.nan_to_num(numbers[:, 0]) * (colours == "red")
    rows = None
    if sparse:
        index = np.sort(rng.permuted(np.tile(np.arange(9), (n, 1)), axis=1)[:, :3], axis=1)
        rows = SparseRows(index, rng.random((n, 3)), np.full(n, 3, np.int32))
    marks = np.stack((np.arange(n + 1),) * 3, axis=1)
    return Block(Schema(FIELDS, "y", task), "m", numbers, (colours, notes), target, marks, rows)


@cache
def trained(
    task: Task, hidden: tuple[int, ...] = (4,), dtype: str = "float32", *, sparse: bool = False
) -> Model:
    """A model that has learned 150 samples."""
    settings = CandidateSettings(hidden=hidden, optimizer="adam", rehearsal=1, memory=20)
    learner = Learner(
        task=task, candidates=[settings], dtype=dtype, encoder={"text_buckets": 64}, seed=2
    )
    learner.learn(block_of(task, sparse=sparse))
    model = learner.model()
    model.about["note"] = {"nested": [1, 2.5, None, True, "ü\ud800"]}
    return model


def learned(task: Task, dtype: str = "float32", **settings: Any) -> Learner:
    """A learner of several candidates that has learned 150 samples."""
    learner = Learner(
        task=task, candidates=SEVERAL, dtype=dtype, seed=3, encoder={"text_buckets": 64}, **settings
    )
    learner.learn(block_of(task))
    return learner


@cache
def several(task: Task, dtype: str = "float32") -> Model:
    """A model of three networks: of those of `SEVERAL` one looks at the last targets."""
    model = learned(task, dtype).model()
    model.about["note"] = {"nested": [1, 2.5, None, True, "ü\ud800"]}
    return model


@cache
def small(task: Task = Task.CLASSIFICATION) -> Model:
    """A model of a number and a category, whose file has few bytes."""
    schema = Schema((Field("x", Kind.NUMBER), Field("w", Kind.CATEGORY)), "y", task)
    words = np.array(["u", "v", "u"], object)
    target = np.array([1.0, 2.0, 3.0]) if task is Task.REGRESSION else np.array(list("aba"), object)
    marks = np.zeros((4, 3), np.int64)
    numbers = np.array([[0.0], [1.0], [2.0]])
    learner = Learner(task=task, candidates=[CandidateSettings(hidden=(2,))], window=5)
    learner.learn(Block(schema, "-", numbers, (words,), target, marks))
    return learner.model()


def loaded(form: ModuleType, data: bytes) -> Model:
    """The model that a file named m would hold with this content."""
    document = form.decode(data, "m")
    verify_document(document, "m")
    return Model.from_document(document, "m")


def _make_golden(folder: Path) -> None:
    answers = {}
    for task in Task:
        model = several(task)
        for suffix in ("json", "safetensors"):
            model.save(folder / f"{task}.{suffix}")
        answers[str(task)] = model.outputs(SAMPLES).tolist()
    (folder / "answers.json").write_text(json.dumps(answers, indent=1) + "\n")


if __name__ == "__main__":
    _make_golden(Path(sys.argv[1]))
