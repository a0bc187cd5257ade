"""Chooses its own candidates: which way of learning suits the taste of wine best?

All candidates see the same samples at the same time, so they can be compared sample by sample. The
best one of each moment answers; here we look at all of them.

Run it: python examples/05_own_population.py
"""

from __future__ import annotations

from pathlib import Path

import anyio

import streamnet
from streamnet.settings.candidate import Optimizer
from streamnet.sources import Columns

FILE = Path(__file__).parent / "data" / "wine_red.csv.gz"

RATES: dict[Optimizer, float] = {"sgd": 0.01, "adam": 0.003, "adagrad": 0.03}

candidates = [
    streamnet.CandidateSettings(hidden=hidden, optimizer=optimizer, learning_rate=rate)
    for hidden in ((), (32,), (64, 32))
    for optimizer, rate in RATES.items()
]
# The same network once with, and once without learning a few earlier wines again each time.
candidates += [
    streamnet.CandidateSettings(hidden=(32,), learning_rate=0.003, rehearsal=rehearsal)
    for rehearsal in (0, 4)
]

columns = Columns(target="quality", task=streamnet.Task.REGRESSION)
source = streamnet.open_files([FILE], columns=columns)
result = anyio.run(streamnet.Pipeline(source, candidates=candidates, seed=1).run)

print(" mae   candidate")
for row in sorted(result.report["candidates"], key=lambda row: row["scores"]["mae"]):
    settings = streamnet.CandidateSettings.from_dict(row["settings"])
    print(f"{row['scores']['mae']:.3f}  {settings.describe()}")
print(f"{result.report['served']['mae']:.3f}  served")
print(f"{result.report['baselines']['mean']['mae']:.3f}  always the mean so far")
