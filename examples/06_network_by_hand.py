"""Makes one network by hand, teaches it which of two switches are set alike, and looks into it.

No stream and no population: numbers in, numbers out, as in gopher-neural, whose files it can be
read from and written to. A unit has no bias here, so a third input that is always 1 stands for it.

Run it: python examples/06_network_by_hand.py
"""

from __future__ import annotations

import tempfile
from itertools import product
from pathlib import Path

import streamnet

settings = streamnet.CandidateSettings.gopher(hidden=(4,), learning_rate=1.0)
network = streamnet.NeuralNetwork(3, settings, labels=["alike", "different"], seed=1)

samples = [[a, b, 1] for a, b in product((0, 1), repeat=2)]
ideals = [[a == b, a != b] for a, b, _ in samples]


def error() -> float:
    """Mean of half the squared errors."""
    outputs = network.calculate(samples)
    return float(((outputs - ideals) ** 2).sum() / 2 / len(samples))


print(f"error before learning: {error():.3f}")
for _ in range(3000):
    network.learn(samples, ideals)
print(f"error after 3,000 rounds: {error():.3f}")

for sample in samples:
    outputs = network.calculate_labels(sample)
    said = ", ".join(f"{label} {value:.2f}" for label, value in outputs.items())
    print(f"{sample[0]} and {sample[1]} are {network.winner_label(sample)} ({said})")

print("layers:", ", ".join(f"{units} x {inputs}" for units, inputs in network.shapes))

# A network is a model as well, and one that gopher-neural can read.
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "switches.json")
    streamnet.Model.of(network, names=["left", "right", "one"]).export(path)
    again = streamnet.Model.load(path).neural_network()
same = (again.calculate(samples) == network.calculate(samples)).all()
print(f"read back from gopher-neural's format, it answers the same: {'yes' if same else 'no'}")
