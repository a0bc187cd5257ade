"""Small sets for the tests of the engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from streamnet.datasets import Sample, Set
from streamnet.engine import Engine

__all__ = ("SONAR", "WINE", "moons", "quick", "slope")

DATA = Path(__file__).parents[2] / "examples" / "data"
SONAR, WINE = DATA / "sonar.data", DATA / "wine_red.csv.gz"


def moons(n: int = 120, seed: int = 0) -> Set:
    """Two half circles that no line parts."""
    random = np.random.default_rng(seed)
    rows = Set("classification", columns=("x", "y"))
    for i in range(n):
        angle, lower = random.uniform(0, np.pi), i % 2
        x, y = np.cos(angle) + lower, np.sin(angle) * (1 - 2 * lower) + 0.5 * lower
        rows.add(Sample(np.array([x, y]) + random.normal(0, 0.1, 2), label=("up", "down")[lower]))
    return rows


def slope(n: int = 120, seed: int = 0) -> Set:
    """A number that depends on one input of two."""
    random = np.random.default_rng(seed)
    rows = Set("regression", columns=("x", "noise"))
    for x, noise in random.normal(0, 1, (n, 2)).tolist():
        rows.add(Sample([x, noise], value=3.0 * x + 10.0))
    return rows


def quick(**settings: Any) -> Engine:
    """An engine of few and small networks."""
    given: dict[str, Any] = {
        "hidden": (8,),
        "epochs": 4,
        "tries": 2,
        "learning_rate": 0.1,
        "decay": 0.05,
    }
    return Engine(**{**given, **settings})
