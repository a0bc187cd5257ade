"""Tells mines from rocks by their sonar echo: 208 echoes of 60 numbers each.

With so few samples, what one split says is mostly luck, so five splits are learned. Each time 70 %
of the echoes are learned, 15 % choose among the networks, and the last 15 % say how good the choice
is. gopher-neural's own way, which reports the part that chose, is shown for comparison.

Run it: python examples/07_sonar.py
"""

from __future__ import annotations

from pathlib import Path
from statistics import mean
from typing import Any

import streamnet

SONAR = Path(__file__).parent / "data" / "sonar.data"
SEEDS = range(5)


def accuracies(**settings: Any) -> list[float]:
    """Of the reported part, with each seed."""
    found = []
    for seed in SEEDS:
        trained = streamnet.Engine("classification", seed=seed, **settings).fit(SONAR)
        found.append(trained.evaluation.measures()["accuracy"])
    return found


honest = accuracies()
print("accuracy on held-out echoes:", *(f"{one:.3f}" for one in honest))
print(f"on average: {mean(honest):.3f}")
print(f"by gopher's protocol: {mean(accuracies(protocol='gopher')):.3f}")

engine = streamnet.Engine("classification", seed=1)
trained = engine.fit(SONAR)
print(f"{trained.report['candidates']} networks, {trained.report['passes']} passes; the winner:")
best = trained.report["members"][0]
print(f"  {engine.describe(best['candidate'])}, at its best after epoch {best['epoch']}")

print("who was taken for whom (a row for each truth):")
evaluation = trained.report["evaluation"]
for label, row in zip(evaluation["labels"], evaluation["confusion"], strict=True):
    print(f"  {label}", *(f"{count:4.0f}" for count in row[:-1]))
