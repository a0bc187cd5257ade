"""Calls of a model that come at the same moment are one, and each gets its own answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import anyio
import numpy as np
import pytest

from streamnet.daemon.predictions import MicroBatcher, Predictions
from streamnet.errors import ConfigurationError


class Doubling:
    """Answers twice x; counts how often it is called."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, samples: Sequence[Any]) -> Predictions:
        self.calls.append(len(samples))
        if any(sample["x"] is None for sample in samples):
            raise ConfigurationError("x is absent")
        values = np.array([2.0 * sample["x"] for sample in samples])
        return Predictions(values, values[:, None], ("a",), 1)


async def ask(together: MicroBatcher, found: dict[int, Any], number: int, count: int) -> None:
    try:
        said = await together.predict([{"x": number}] * count)
        assert said.probabilities is not None
        assert said.probabilities[:, 0].tolist() == said.values.tolist()
        found[number] = said.values.tolist()
    except ConfigurationError:
        found[number] = "refused"


def test_concurrent_predictions_are_one_call() -> None:
    model, found = Doubling(), {}  # type: ignore[var-annotated]

    async def main() -> None:
        together = MicroBatcher(model)
        async with anyio.create_task_group() as group:
            for number in range(1, 6):
                group.start_soon(ask, together, found, number, number)
        await ask(together, found, 9, 1)

    anyio.run(main)
    assert model.calls == [15, 1]
    assert found == {number: [2.0 * number] * number for number in range(1, 6)} | {9: [18.0]}


def test_a_wrong_sample_does_not_affect_other_callers() -> None:
    async def main() -> dict[str, Any]:
        together, found = MicroBatcher(Doubling()), {}

        async def one(name: str, x: Any) -> None:
            try:
                found[name] = (await together.predict([{"x": x}])).values.tolist()
            except ConfigurationError as error:
                found[name] = str(error)

        async with anyio.create_task_group() as group:
            group.start_soon(one, "good", 1)
            group.start_soon(one, "bad", None)
            group.start_soon(one, "fine", 3)
        return found

    assert anyio.run(main) == {"good": [2.0], "bad": "x is absent", "fine": [6.0]}


def test_an_internal_error_reaches_all_callers() -> None:
    def broken(samples: Sequence[Any]) -> Predictions:
        raise RuntimeError("broken")

    async def main() -> None:
        with pytest.raises(RuntimeError):
            await MicroBatcher(broken).predict([{"x": 1}])

    anyio.run(main)


def test_others_get_predictions_when_asyncio_cancels_the_first_caller() -> None:
    async def main() -> None:
        together, found = MicroBatcher(Doubling()), {}  # type: ignore[var-annotated]
        first = asyncio.create_task(ask(together, found, 1, 1))
        second = asyncio.create_task(ask(together, found, 2, 2))
        asyncio.get_running_loop().call_soon(first.cancel)
        with anyio.fail_after(5):
            await asyncio.wait([first, second])
            await ask(together, found, 3, 1)
        assert found[2] == [4.0, 4.0]
        assert found[3] == [6.0]

    asyncio.run(main())
