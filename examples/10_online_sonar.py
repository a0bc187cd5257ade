"""Learns sonar echoes one at a time: is it a mine?

Every echo is named before it is learned, so no figure here is flattered by samples that were seen
before. The echoes come in a random order, since the file has all rocks first. There are so few of
them that it pays to learn each one again and again: after each new echo, 32 earlier ones.

Run it: python examples/10_online_sonar.py
"""

from __future__ import annotations

import csv
from pathlib import Path
from random import Random
from statistics import mean

import streamnet

SONAR = Path(__file__).parent / "data" / "sonar.data"
ORDERS = range(5)
candidates = [
    streamnet.CandidateSettings(
        hidden=hidden, activation="relu", optimizer="sgd", learning_rate=rate, rehearsal=32
    )
    for hidden in ((64, 32), (100,))
    for rate in (0.01, 0.03)
] * 3  # each three times, with start weights of its own

with SONAR.open(newline="") as file:
    echoes = list(csv.reader(file))

overall, late = [], []
for order in ORDERS:
    shuffled = Random(order).sample(echoes, len(echoes))  # noqa: S311 - no secret
    classifier = streamnet.OnlineClassifier(candidates, seed=order)
    right = []
    for *numbers, label in shuffled:
        sample = {f"band{at}": float(number) for at, number in enumerate(numbers)}
        right.append(classifier.predict_one(sample) == label)
        classifier.learn_one(sample, label)
    overall.append(mean(right))
    late.append(mean(right[-100:]))
    print(f"order {order}: {overall[-1]:.3f} of all, {late[-1]:.3f} of the last 100")

print(f"named rightly before they were learned: {mean(overall):.3f} of all echoes")
print(f"of the last 100: {mean(late):.3f}")
