"""Follows the best network of a stream that an asynchronous program makes.

The pipeline reads, learns, scores and selects in stages that run side by side. Whenever another
network has become the best one, a copy of it comes out and can be put to use elsewhere.

Run it: python examples/03_follow_champions.py
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio

import streamnet


async def sensor() -> AsyncIterator[dict[str, Any]]:
    """A machine that runs hot at a load that drops, half-way through, from 70 to 40."""
    for i in range(12_000):
        load, vibration = i * 37 % 100, i * 53 % 17
        limit = 70 if i < 6_000 else 40
        yield {"load": load, "vibration": vibration, "state": "hot" if load > limit else "fine"}


async def main() -> None:
    """Watch champions come; the last one comes when the stream has ended."""
    source = streamnet.IterableSource(sensor(), target="state")
    async with streamnet.Pipeline(source, seed=1) as pipeline:
        async for champion in pipeline.champions():
            answer = champion.model.predict({"load": 55, "vibration": 3})[0]
            words = champion.settings.describe()
            print(f"sample {champion.number:6,}: {words}: load 55 is {answer}")

    served = pipeline.report()["served"]
    print(f"served accuracy {served['accuracy']:.1%}, over the change as well")


anyio.run(main)  # or anyio.run(main, backend="trio")
