"""Samples a second of a network like gopher-neural's, beside the same recurrence as a C loop.

    python -m tests.benchmarks.gopher

One network in float64 and one thread, each sample answered and learned: by `NeuralNetwork.learn`,
by the C loop (``-O3 -march=native``, and with ``-ffast-math``, which may add up in vectors), in
rounds that alternate. What gopher-neural itself does was measured once, on another day, with Go
1.24 on two cores of an AMD EPYC. Processor time, medians. Needs a C compiler (CC or gcc).
"""

from __future__ import annotations

import ctypes
import os
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import process_time

import numpy as np

from streamnet.networks import CandidateSettings, NeuralNetwork
from tests.networks import gopher

SHAPES = {(20, 20, 2): 605_000, (8, 16, 1): 1_300_000, (54, 100, 7): 55_500}
SAMPLES = 5000
ROUNDS = 15
RATE = 0.05


def compiled(folder: str, name: str, *flags: str) -> ctypes.CDLL:
    library = Path(folder, name)
    source = Path(__file__).with_name("gopher.c")
    common = ("-O3", "-march=native", "-shared", "-fPIC")
    compiler = os.environ.get("CC", "gcc")
    subprocess.run([compiler, *common, *flags, str(source), "-o", str(library), "-lm"], check=True)
    return ctypes.CDLL(str(library))


def theirs(library: ctypes.CDLL, shape: tuple[int, ...], x: np.ndarray, y: np.ndarray) -> Callable:
    weights = np.hstack([np.array(m).ravel() for m in gopher.start_weights(*shape)])
    answers = np.empty_like(y)
    arrays = (x, y, weights, answers)
    pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in arrays]
    return lambda: (library.learn(len(x), *shape, ctypes.c_double(RATE), *pointers), arrays)[0]


def ours(shape: tuple[int, ...], x: np.ndarray, y: np.ndarray) -> Callable:
    inputs, hidden, outputs = shape
    settings = CandidateSettings.gopher(hidden=(hidden,), learning_rate=RATE)
    network = NeuralNetwork(inputs, settings, outputs=outputs)
    network.weights = gopher.start_weights(*shape)
    return lambda: network.learn(x, y)


def seconds(function: Callable) -> float:
    start = process_time()
    function()
    return process_time() - start


def main() -> None:
    print(f"{'shape':>10} {'streamnet':>10} {'C':>10} {'C, fast':>10} {'gopher':>10}  against")
    with tempfile.TemporaryDirectory() as folder:
        plain = compiled(folder, "plain.so")
        fast = compiled(folder, "fast.so", "-ffast-math")
        for shape, measured in SHAPES.items():
            x, y = (np.array(rows) for rows in gopher.stream(shape[0], shape[-1], SAMPLES))
            functions = (ours(shape, x, y), theirs(plain, shape, x, y), theirs(fast, shape, x, y))
            for function in functions:
                function()
            times = [[seconds(function) for function in functions] for _ in range(ROUNDS)]
            rates = [SAMPLES / statistics.median(column) for column in zip(*times, strict=True)]
            name = "-".join(map(str, shape))
            columns = " ".join(f"{rate:10,.0f}" for rate in (*rates, measured))
            ratios = ", ".join(f"{rates[0] / other:.2f}" for other in (*rates[1:], measured))
            print(f"{name:>10} {columns}  {ratios}")


if __name__ == "__main__":
    main()
