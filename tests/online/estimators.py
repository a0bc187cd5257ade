"""Small estimators and the samples that they learn in tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from streamnet.online import OnlineClassifier, OnlineRegressor
from streamnet.settings.candidate import CandidateSettings

FEW = [
    CandidateSettings(hidden=(8,), optimizer="sgd", learning_rate=0.1),
    CandidateSettings(hidden=(), optimizer="adagrad", learning_rate=0.1, rehearsal=2, memory=50),
]
Estimator = OnlineClassifier | OnlineRegressor


def flat(state: Any) -> Any:
    """A state as something that is equal only if it is so to the bit."""
    if isinstance(state, dict):
        if state.keys() >= {"row", "value", "count"}:
            state = without_padding(state)
        return {name: flat(value) for name, value in state.items()}
    if isinstance(state, list | tuple):
        return [flat(value) for value in state]
    if isinstance(state, np.ndarray):
        return state.dtype.str, state.shape, state.tobytes()
    return repr(state)


def without_padding(memory: dict[str, Any]) -> dict[str, Any]:
    """Remembered samples without what stands behind the entries in use, which means nothing."""
    used = np.arange(memory["row"].shape[1]) < memory["count"][:, None]
    return {**memory, "row": memory["row"] * used, "value": memory["value"] * used}


def classifier(**learning: Any) -> OnlineClassifier:
    return OnlineClassifier(FEW, seed=3, **learning)


def regressor(**learning: Any) -> OnlineRegressor:
    return OnlineRegressor(FEW, seed=3, **learning)


def samples(count: int, seed: int = 0) -> list[dict[str, Any]]:
    random = np.random.default_rng(seed)
    colours = ["red", "green", "blue"]
    return [
        {"x": float(x), "n": int(n), "colour": colours[c], "gap": None if n == 3 else float(x + n)}
        for x, n, c in zip(
            random.normal(size=count),
            random.integers(0, 9, count),
            random.integers(0, 3, count),
            strict=True,
        )
    ]


def label(sample: dict[str, Any]) -> str:
    return "yes" if sample["x"] + sample["n"] / 9 > 0.5 or sample["colour"] == "red" else "no"


def number(sample: dict[str, Any]) -> float:
    return float(2 * sample["x"] - sample["n"] + 5 * (sample["colour"] == "red"))


def taught(count: int = 300) -> OnlineClassifier:
    estimator = classifier()
    for sample in samples(count):
        estimator.learn_one(sample, label(sample))
    return estimator


KINDS: list[tuple[Callable[[], Estimator], Callable[[dict[str, Any]], Any]]] = [
    (classifier, label),
    (regressor, number),
]


# ---------------------------------------------------------------- one and many
