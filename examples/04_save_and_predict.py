"""Saves the champion of a replay as a file, loads it again, and asks it.

A model file is whole: encoder, network, labels, settings and scores. It holds no code, carries a
checksum, and answers the same to the bit wherever it is loaded on the same kind of machine.

Run it: python examples/04_save_and_predict.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import streamnet

DATA = Path(__file__).parent / "data"

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "income.safetensors")
    streamnet.replay(DATA / "adult.csv.gz", target="income", candidates=4, model=path)
    print(f"{path.name}: {path.stat().st_size:,} bytes")
    model = streamnet.Model.load(path)

    # The same as text, for people and for other programs.
    readable = path.with_suffix(".json")
    model.save(readable)
    print(f"{readable.name}: {readable.stat().st_size:,} bytes")
    twin = streamnet.Model.load(readable)

print(f"learned {model.about['samples']:,} people to tell {' from '.join(model.labels)}")
people = [
    {"age": 52, "education": "Doctorate", "education_num": 16, "hours_per_week": 50},
    {"age": 19, "education": "HS-grad", "education_num": 9, "hours_per_week": 20},
]
# What is not known of a person counts as missing; what the model never saw is left out.
for person, answer, shares in zip(
    people, model.predict(people), model.predict_proba(people), strict=True
):
    print(f"{person['education']:10} {answer:6} {max(shares):.0%} sure")

equal = np.array_equal(model.predict_proba(people), twin.predict_proba(people))
print(f"both files give the same answers to the bit: {'yes' if equal else 'no'}")
