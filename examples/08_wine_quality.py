"""Predicts how good a red wine was found to be, from eleven chemical measurements.

Many networks learn at once. The ten best, by wines that they have not learned, answer together.

Run it: python examples/08_wine_quality.py
"""

from __future__ import annotations

from pathlib import Path

import streamnet

WINE = Path(__file__).parent / "data" / "wine_red.csv.gz"

engine = streamnet.Engine("regression", seed=1, regression_threshold=0.5)
trained = engine.fit(WINE, target="quality")

sizes = trained.report["samples"]
print(
    f"{sizes['training']} wines to learn, {sizes['validation']} to choose, {sizes['test']} unseen"
)
print(f"{len(engine.history)} times a network was better than all before it, the last ones:")
for improvement in engine.history[-3:]:
    name = engine.describe(improvement.candidate)
    print(f"  epoch {improvement.epoch:2}: distance {improvement.value:.4f}, {name}")

measures = trained.evaluation.measures()
print("on the unseen wines, whose quality goes from 3 to 8:")
print(f"  root mean squared error {measures['rmse']:.3f}")
print(f"  share of the variance explained {measures['r2']:.3f}")
right = trained.report["evaluation"]["correct"]
print(f"  rounded to the right quality: {right / sizes['test']:.1%}")

wine = {"fixed_acidity": 7.4, "volatile_acidity": 0.3, "alcohol": 12.5, "sulphates": 0.8}
print(f"a wine of which four numbers are known: {trained.model.predict(wine)[0]:.1f}")
