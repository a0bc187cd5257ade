"""Plain iterables that wait: what has come is given, and nothing waits for the rest."""

from __future__ import annotations

import threading
from asyncio import CancelledError
from collections.abc import Iterator
from queue import Queue
from time import sleep
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from streamnet.errors import DataError
from streamnet.samples import Block, Task
from streamnet.sources import IterableSource
from tests.sources.harness import drained_in_moments, numbers

SECONDS = 30


def test_a_plain_iterable_that_waits_gives_what_has_come(backend: str) -> None:
    queue: Queue[dict[str, Any] | None] = Queue()
    source = IterableSource(iter(queue.get, None), target="y")
    found: list[Block] = []

    async def take(count: int) -> None:
        while len(numbers(found)) < count:
            found.append(await source.receive() or pytest.fail("it ended"))

    async def main() -> None:
        with anyio.fail_after(SECONDS):
            queue.put({"x": 0, "y": 1})
            queue.put({"x": 1, "y": 2})
            assert (await source.open()).task is Task.CLASSIFICATION
            await take(2)
            with anyio.move_on_after(0.01) as waited:
                await source.receive()
            assert waited.cancelled_caught
            for number in range(2, 5):
                queue.put({"x": number, "y": 1})
            await take(5)
            await source.aclose()  # though the thread waits for the queue
            assert await source.receive() is None

    anyio.run(main, backend=backend)
    queue.put(None)
    assert numbers(found) == list(range(5))


def test_waiting_for_a_plain_iterable_can_be_cancelled_without_losing_a_sample(
    backend: str,
) -> None:
    def give() -> Iterator[dict[str, Any]]:
        for number in range(3000):
            if number % 50 == 0:
                sleep(0)  # lets another thread go on
            yield {"x": number, "y": "a"}

    async def main() -> list[Block]:
        source = IterableSource(give(), target="y", task=Task.CLASSIFICATION)
        await source.open()
        blocks = await drained_in_moments(source, 0.001)
        await source.aclose()
        return blocks

    assert numbers(anyio.run(main, backend=backend)) == list(range(3000))


def test_only_one_thread_asks_a_plain_iterable_and_none_once_it_is_closed(backend: str) -> None:
    threads = []

    def endless() -> Iterator[dict[str, Any]]:
        while True:
            threads.append(threading.current_thread())
            yield {"x": 1, "y": "a"}

    async def main() -> int:
        source = IterableSource(endless(), target="y")
        await source.open()
        for _ in range(3):
            await source.receive()
        await source.aclose()
        return len(threads)

    asked = anyio.run(main, backend=backend)
    (thread,) = set(threads)
    assert thread.daemon
    thread.join(SECONDS)
    assert not thread.is_alive()
    assert len(threads) == asked <= 6 * 1024


def test_a_plain_iterable_whose_own_work_is_cancelled_is_no_whole_stream() -> None:
    """It may ask an event loop of its own for each sample: no task of ours was cancelled."""

    def broken() -> Iterator[dict[str, Any]]:
        for number in range(300):
            yield {"x": number, "y": "a"}
        raise CancelledError

    blocks: list[Block] = []

    async def main() -> None:
        source = IterableSource(broken(), target="y", task=Task.CLASSIFICATION)
        await source.open()
        while (block := await source.receive()) is not None:
            blocks.append(block)

    with pytest.raises(DataError, match=r"iterable failed \(CancelledError was raised in it\)"):
        anyio.run(main)
    assert numbers(blocks) == list(range(300))
