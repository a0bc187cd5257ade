"""Models that are exported in tests, samples for them, and what other runtimes predict."""

from __future__ import annotations

import ctypes
import math
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from streamnet.learning.learner import Learner
from streamnet.modelfiles import Model
from streamnet.modelfiles.columns import align_columns
from streamnet.modelfiles.exports.c_text import Identifiers
from streamnet.samples import NUMERIC, Block, ClassChange, Field, Kind, Schema, Task
from streamnet.settings.candidate import CandidateSettings

FIELDS = (
    Field("size", Kind.NUMBER),
    Field("rooms", Kind.NUMBER),  # few distinct values
    Field("no-where", Kind.NUMBER),  # always missing
    Field("since", Kind.TIME),
    Field("day", Kind.TIME),  # without a time of day
    Field("shop", Kind.ID),
    Field("colour ?", Kind.CATEGORY),
    Field("int", Kind.CATEGORY),  # truth values and numbers
)
NETWORKS = (
    CandidateSettings(hidden=(4,), knots=5),
    CandidateSettings(hidden=(), optimizer="adagrad", learning_rate=0.1, knots=3),
    CandidateSettings(hidden=(3,), lags=True),
    CandidateSettings(hidden=(5, 3), activation=("relu", "logistic"), optimizer="adam"),
)
WORDS = ["red", "grün", "blue", "", '??/ "quoted"\\', "a\tb", "x" * 200]
FLAGS = ["true", "7", "8.0", "no"]


def make_block(task: Task, n: int = 400, seed: int = 5) -> Block:
    """Samples with all kinds of columns that can be exported."""
    rng = np.random.default_rng(seed)
    day = 86_400.0 * rng.integers(-5000, 20_000, n)
    numbers = np.stack(
        (
            1e6 + 50.0 * rng.normal(size=n),
            rng.integers(0, 5, n).astype(float),
            np.full(n, np.nan),
            1.7e9 + 40_001.0 * rng.permutation(n),
            day,
            rng.choice([3.0, -7.0, 12.0, 2.0**31 - 1.0], n),
        ),
        axis=1,
    )
    numbers[rng.random(numbers.shape) < 0.05] = np.nan
    colours, flags = (np.array(all_words, object) for all_words in (WORDS, FLAGS))
    words = colours[rng.integers(0, len(WORDS), n)], flags[rng.integers(0, len(FLAGS), n)]
    for column in words:
        column[(rng.random(n) < 0.05) | (column == "")] = None
    score = np.nan_to_num(numbers[:, 0] - 1e6) / 50.0 + np.nan_to_num(numbers[:, 1])
    target: Any = 5.0 + 20.0 * score * (words[0] != "red")
    if task is Task.CLASSIFICATION:
        target = np.array(["low", "mid", "high"], object)[np.digitize(score, (1.0, 3.0))]
    marks = np.stack((np.arange(n + 1),) * 3, axis=1)
    return Block(Schema(FIELDS, "y", task), "m", numbers, words, target, marks)


def make_odd_block(task: Task) -> Block:
    """The same, with values that were never learned, huge or not finite."""
    block = make_block(task, 300, seed=6)
    rng = np.random.default_rng(7)
    odd = [np.inf, -np.inf, np.nan, 0.0, -0.0, 1e300, -1e300, 5e-324, 1e18, 2.5, 3.0, 1e6, 9e5]
    numbers, words = block.numbers.copy(), [column.copy() for column in block.words]
    mask = rng.random(numbers.shape) < 0.3
    numbers[mask] = rng.choice(odd, mask.sum())
    unseen = ["new", "TRUE", "True", "7.0", "8", "x" * 300, "ü" * 260, " ", "rot"]
    for column in words:
        mask = rng.random(len(column)) < 0.3
        column[mask] = rng.choice(np.array(unseen, object), mask.sum())
        column[column == " "] = None
    return replace(block, numbers=numbers, words=tuple(words), target=None)


@cache
def learn(
    task: Task,
    networks: tuple[CandidateSettings, ...] = NETWORKS,
    change: ClassChange | None = None,
    dtype: str = "float32",
    encoder: tuple[tuple[str, Any], ...] = (),
    skip: tuple[str, ...] = (),
    ids: float = 0.0,
    n: int = 400,
    **settings: Any,
) -> Model:
    """A model that has learned 400 samples: without some columns, and with larger ids."""
    given: Any = {name: dict(v) if isinstance(v, tuple) else v for name, v in encoder}
    learner = Learner(
        task=task, candidates=networks, dtype=dtype, seed=3, encoder=given, **settings
    )
    block = make_block(task)
    block.numbers[:, 5] += ids
    kept = [field for field in FIELDS if field.name not in skip]
    block = align_columns(block, kept)
    learner.learn(block if n else replace(block, target=np.full(len(block), None, object)))
    if change is not None:
        learner.learn(replace(block.part(0, 0), change=change))
    return learner.model()


class Answers(NamedTuple):
    """What another runtime predicts."""

    outputs: NDArray[np.float64]  # shape=(n, outputs)
    labels: list[Any]
    bounds: NDArray[Any]  # intervals or sets; empty without


def run_onnx(path: Path, block: Block) -> Answers:
    """What onnxruntime predicts."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feeds: dict[str, Any] = {}
    for name, values in zip(block.schema.numbers, block.numbers.T, strict=True):
        feeds[name] = np.ascontiguousarray(values[:, None])
    for name, words in zip(block.schema.words, block.words, strict=True):
        feeds[name] = np.array([word or "" for word in words], object)[:, None]
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(None, feeds), strict=True))
    labels = found["output_label"].tolist() if "output_label" in found else []
    outputs = found["output_probability" if "output_label" in found else "variable"]
    bounds: Any = found.get("output_set", found.get("output_interval", np.empty(0)))
    return Answers(outputs, labels, bounds)


def compile_c(path: Path, *options: str) -> Path:
    """Compile a C file with all warnings as errors."""
    library = path.with_suffix(".so")
    strict = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
    command = ["cc", *strict, "-shared", "-fPIC", *options, str(path), "-o", str(library), "-lm"]
    subprocess.run(command, check=True, timeout=120)
    return library


def run_c(path: Path, model: Model, block: Block) -> Answers:
    """What the C file predicts, called as a library."""
    names = Identifiers()
    members = {name: names.make(name) for name, _ in model.fields}
    kinds = [(members[n], ctypes.c_double if k in NUMERIC else ctypes.c_char_p)
             for n, k in model.fields]  # fmt: skip
    count = max(len(model.labels), 1)
    is_number = model.task is Task.REGRESSION
    extra = ctypes.c_double * 2 if is_number else ctypes.c_ubyte * count
    Input = type("Input", (ctypes.Structure,), {"_fields_": kinds})
    found = [("outputs", ctypes.c_double * count), ("bounds", extra)]
    Output = type("Output", (ctypes.Structure,), {"_fields_": found})
    predict = ctypes.CDLL(str(compile_c(path))).model_predict
    values: dict[str, list[Any]] = {
        name: column.tolist()
        for name, column in zip(block.schema.numbers, block.numbers.T, strict=True)
    }
    for name, words in zip(block.schema.words, block.words, strict=True):
        values[name] = [None if word is None else word.encode() for word in words]
    outputs, labels, bounds = np.empty((len(block), count)), [], []
    for i in range(len(block)):
        given = Input(**{members[name]: column[i] for name, column in values.items()})
        answer = Output()
        number = predict(ctypes.byref(given), ctypes.byref(answer))
        outputs[i] = answer.outputs[:]
        bounds.append(answer.bounds[:])
        labels.append(None if number < 0 or is_number else model.labels[number])
        assert not is_number or (number == 0) is math.isfinite(outputs[i, 0])
    has_bounds = model.interval is not None
    return Answers(outputs, labels, np.array(bounds) if has_bounds else np.empty(0))
