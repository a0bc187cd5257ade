"""A model for every key beside other ways to predict many things: accuracy and processor time.

    python -m tests.benchmarks.keys [--data FOLDER] [--keys 2000] [--samples 80000]

A made-up fleet has sensors with levels, slopes and daily seasons of their own, of which 5 % move to
others in the middle; with a folder that holds ``avocado.csv.gz``, prices of 108 series follow. Each
sample is predicted before it is learned: by the last value of its key, by one model for all
(`OnlineRegressor`), by `KeyedRegressor`, and by a model of River for every key, if it is installed.
The shared one alone is the model below those of the keys, which sees the last targets of a key.
"""

from __future__ import annotations

import argparse
import csv
import gzip
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from time import process_time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import streamnet

BLOCK = 256


class Stream(NamedTuple):
    """Samples in order, with the columns of their key."""

    name: str
    samples: list[dict[str, Any]]
    targets: NDArray[np.float64]
    key: tuple[str, ...]

    @property
    def keys(self) -> list[str]:
        """Key of each sample."""
        return ["|".join(str(sample[column]) for column in self.key) for sample in self.samples]


def make_fleet(keys: int, samples: int, seed: int = 0) -> Stream:
    """Sensors with levels, slopes and seasons of their own; 5 % of them drift half-way."""
    rng = np.random.default_rng(seed)
    levels, phases = rng.normal(20.0, 10.0, keys), rng.uniform(0.0, 2.0 * np.pi, keys)
    slopes, sizes = rng.normal(1.0, 1.0, (keys, 3)), np.abs(rng.normal(3.0, 1.5, keys))
    drifting, turns = rng.random(keys) < 0.05, np.zeros(keys, int)
    rows, targets = [], np.empty(samples)
    for i, k in enumerate(rng.integers(0, keys, samples).tolist()):
        if drifting[k] and turns[k] == samples // keys // 2:
            levels[k] += 15.0
            slopes[k] = rng.normal(1.0, 1.0, 3)
        hour, x = turns[k] % 24, rng.normal(size=3)
        season = sizes[k] * np.sin(2.0 * np.pi * hour / 24.0 + phases[k])
        targets[i] = levels[k] + slopes[k] @ x + season + rng.normal(0.0, 0.5)
        turns[k] += 1
        inputs = dict(zip("abc", x.tolist(), strict=True))
        rows.append({"sensor": f"s{k}", **inputs, "hour": int(hour)})
    return Stream("fleet", rows, targets, ("sensor",))


def read_avocado(folder: Path) -> Stream:
    """Weekly prices of avocados by type and region."""
    with gzip.open(folder / "avocado.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    targets = np.array([float(row.pop("AveragePrice")) for row in rows])
    words = {"Date", "type", "region"}
    samples = [{n: v if n in words else float(v) for n, v in row.items()} for row in rows]
    return Stream("avocado", samples, targets, ("type", "region"))


def predict_last(stream: Stream) -> NDArray[np.float64]:
    """The last value of the key; 0 for a new one."""
    last: dict[str, float] = {}
    predicted = np.zeros(len(stream.targets))
    for i, (key, target) in enumerate(zip(stream.keys, stream.targets.tolist(), strict=True)):
        predicted[i] = last.get(key, 0.0)
        last[key] = target
    return predicted


def predict_with(estimator: Any, stream: Stream) -> NDArray[np.float64]:
    """Each sample predicted before it is learned, by what an estimator served."""
    for start in range(0, len(stream.targets), BLOCK):
        part = slice(start, start + BLOCK)
        estimator.partial_fit(stream.samples[part], stream.targets[part])
    return np.full(1, estimator.served["mae"])


def predict_with_river(build: Callable[[], Any], stream: Stream) -> NDArray[np.float64]:
    """A model of River for every key."""
    models: dict[str, Any] = {}
    predicted = np.empty(len(stream.targets))
    for i, key in enumerate(stream.keys):
        if key not in models:
            models[key] = build()
        model = models[key]
        x = {n: v for n, v in stream.samples[i].items() if isinstance(v, int | float)}
        predicted[i] = model.predict_one(x)
        model.learn_one(x, float(stream.targets[i]))
    return predicted


def compare(stream: Stream) -> Iterator[tuple[str, float, float]]:
    """Names, mean absolute errors and microseconds a sample."""

    def measure(name: str, predict: Callable[[], NDArray[np.float64]]) -> tuple[str, float, float]:
        start = process_time()
        predicted = predict()
        spent = process_time() - start
        whole = len(predicted) == len(stream.targets)
        error = np.abs(predicted - stream.targets).mean() if whole else predicted[0]
        return name, float(error), spent / len(stream.targets) * 1e6

    yield measure("last value of the key", lambda: predict_last(stream))
    one = streamnet.OnlineRegressor(seed=0)
    yield measure("one model for all", lambda: predict_with(one, stream))
    keyed = streamnet.KeyedRegressor(key=stream.key, seed=0)
    yield measure("a model for every key", lambda: predict_with(keyed, stream))
    scores = [keyed.key_scores(key) for key in keyed.list_keys()]
    counts = [each.samples for each in scores]
    yield (
        "  the shared one alone",
        float(np.average([s.shared_loss for s in scores], weights=counts)),
        0.0,
    )
    if find_spec("river") is None:
        return
    from river import compose, linear_model, preprocessing, tree

    def build_linear() -> Any:
        return compose.Pipeline(preprocessing.StandardScaler(), linear_model.LinearRegression())

    yield measure("River, linear by key", lambda: predict_with_river(build_linear, stream))
    yield measure(
        "River, Hoeffding tree by key",
        lambda: predict_with_river(tree.HoeffdingTreeRegressor, stream),
    )


def main() -> None:
    """Print a table for each stream."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--keys", type=int, default=2000)
    parser.add_argument("--samples", type=int, default=80_000)
    given = parser.parse_args()
    streams = [make_fleet(given.keys, given.samples)]
    if given.data is not None:
        streams.append(read_avocado(given.data))
    for stream in streams:
        print(f"{stream.name}: {len(stream.targets):,} samples, {len(set(stream.keys)):,} keys")
        for name, error, spent in compare(stream):
            print(f"  {name:30} MAE {error:8.4f}  {spent:8.1f} µs a sample", flush=True)


if __name__ == "__main__":
    main()
