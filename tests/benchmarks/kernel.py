"""Nanoseconds per sample and candidate of the kernel beside a plain C loop, in one run.

    python -m tests.benchmarks.kernel

Needs a C compiler (CC or gcc). Rounds of both alternate; medians and the ratio are printed.
"""

from __future__ import annotations

import ctypes
import os
import statistics
import subprocess
import tempfile
from pathlib import Path
from time import process_time

import numpy as np

from streamnet.networks.population import Population
from streamnet.samples import Inputs, Task
from streamnet.settings.candidate import CandidateSettings

SHAPES = ((8, 16, 1), (20, 20, 2), (54, 100, 7))
NETWORKS = 16
SAMPLES = 4000
ROUNDS = 25
RATE = 0.05


def compile_c(folder: str) -> ctypes.CDLL:
    library = Path(folder, "kernel.so")
    flags = ("-O3", "-march=native", "-ffast-math", "-shared", "-fPIC")
    source = Path(__file__).with_name("kernel.c")
    subprocess.run(
        [os.environ.get("CC", "gcc"), *flags, str(source), "-o", str(library), "-lm"], check=True
    )
    return ctypes.CDLL(str(library))


def ours(inputs: int, hidden: int, outputs: int, x: np.ndarray, y: np.ndarray):
    settings = CandidateSettings(
        hidden=(hidden,),
        activation="logistic",
        output="logistic",
        loss="squared",
        optimizer="sgd",
        learning_rate=RATE,
    )
    task = Task.REGRESSION if outputs == 1 else Task.CLASSIFICATION
    population = Population([settings] * NETWORKS, task=task)
    empty = np.zeros((len(x), 1))
    block = Inputs(
        x, empty.astype(np.int32), empty.astype(np.float32), np.zeros(len(x), np.int32), 0
    )
    label = np.zeros(len(x), np.int32) if outputs == 1 else y.argmax(axis=1).astype(np.int32)
    goal = y[:, 0].astype(float) if outputs == 1 else np.full(len(x), np.nan)
    known = np.full(len(x), outputs, np.int32)
    answers = population.prepare(0, block, label, goal, outputs)
    return lambda: population.run(0, known, answers)


def theirs(library, inputs: int, hidden: int, outputs: int, x: np.ndarray, y: np.ndarray):
    size = (inputs + 1) * hidden + outputs * (hidden + 1)
    rng = np.random.default_rng(0)
    weights = (rng.normal(size=(NETWORKS, size)) * 0.1).astype(np.float32)
    answers = np.empty((NETWORKS, len(x), outputs), np.float32)
    pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in (x, y, weights, answers)]
    sizes = (NETWORKS, len(x), inputs, hidden, outputs)
    keep = (weights, answers)
    return lambda: (library.learn(*sizes, ctypes.c_float(RATE), *pointers), keep)[0]


def seconds(function) -> float:
    start = process_time()
    function()
    return process_time() - start


def main() -> None:
    rng = np.random.default_rng(1)
    print(f"{'shape':>10} {'kernel':>9} {'C':>9} {'ratio':>6}")
    with tempfile.TemporaryDirectory() as folder:
        library = compile_c(folder)
        for shape in SHAPES:
            inputs, _, outputs = shape
            x = rng.normal(size=(SAMPLES, inputs)).astype(np.float32)
            y = np.eye(max(outputs, 2), dtype=np.float32)[rng.integers(0, max(outputs, 2), SAMPLES)]
            y = np.ascontiguousarray(y[:, :outputs])
            pair = ours(*shape, x, y), theirs(library, *shape, x, y)
            for function in pair:
                function()
            times = [[seconds(function) for function in pair] for _ in range(ROUNDS)]
            a, b = (statistics.median(column) for column in zip(*times, strict=True))
            ratio = statistics.median(mine / other for mine, other in times)
            scale = 1e9 / (SAMPLES * NETWORKS)
            name = "-".join(map(str, shape))
            print(f"{name:>10} {a * scale:6.0f} ns {b * scale:6.0f} ns {ratio:6.2f}")


if __name__ == "__main__":
    main()
