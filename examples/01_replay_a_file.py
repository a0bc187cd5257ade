"""Replays two years of bicycle rentals as a stream, in plain synchronous code.

Every hour is predicted before it is learned, by the network that was the best one up to then. So
the served error is what you would have seen had you started with nothing two years ago.

Run it: python examples/01_replay_a_file.py
"""

from __future__ import annotations

from pathlib import Path

import streamnet

DATA = Path(__file__).parent / "data"

result = streamnet.replay(DATA / "bike_hourly.csv.gz", target="cnt", seed=1)

report = result.report
print(f"learned {report['learned']:,} hours, {report['rejected']} records could not be read")
print("mean absolute error, in bicycles")
print(f"  served     {report['served']['mae']:6.1f}")
for name, measures in report["baselines"].items():
    print(f"  {name:10} {measures['mae']:6.1f}")

print("the three best candidates of the moment")
for row in report["candidates"][:3]:
    settings = streamnet.CandidateSettings.from_dict(row["settings"])
    print(f"  {row['fading']['mae']:6.1f}  {settings.describe()}")

switches = [switch["sample"] for switch in report["last_switches"]]
print(f"{report['switches']} times another one became champion, last before hour {switches[-1]:,}")
print(f"the champion at the end: {result.model.settings.describe()}")
