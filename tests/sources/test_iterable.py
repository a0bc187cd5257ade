"""Synchronous and asynchronous iterables: samples are returned as they arrive."""

from __future__ import annotations

import re
import threading
from asyncio import CancelledError
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count
from queue import Queue
from time import sleep
from typing import Any

import anyio
import anyio.lowlevel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamnet.errors import ConfigurationError, DataError, SchemaError
from streamnet.samples import Block, Kind, Position, Task
from streamnet.sources import Columns, IterableSource
from tests.sources.harness import FrameRow, content, drain, drain_in_moments, numbers, read, reasons

ROWS = [{"x": n, "y": n % 3} for n in range(2500)]


async def slowly(rows: list[Any]) -> AsyncIterator[Any]:
    for number, row in enumerate(rows):
        if number % 7 == 0:
            await anyio.lowlevel.checkpoint()
        yield row


def test_synchronous_and_asynchronous_iterables_yield_the_same_samples(
    run: Callable[..., Any],
) -> None:
    columns = Columns(target="y", task=Task.CLASSIFICATION)
    plain = run(drain, IterableSource(ROWS, columns=columns))[1]
    pairs = [({"x": row["x"]}, row["y"]) for row in ROWS]
    other = run(drain, IterableSource(iter(pairs), columns=columns))[1]
    later = run(drain, IterableSource(slowly(ROWS), columns=columns))[1]
    assert content(plain) == content(other) == content(later)
    assert numbers(plain) == list(range(2500))
    assert max(map(len, [*plain, *other, *later])) <= 1024


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_dict_may_be_reused(asynchronous: bool, pairs: bool) -> None:
    def refilled() -> Iterator[Any]:
        sample: dict[str, Any] = {}
        for row in ROWS:
            sample |= {"x": row["x"]} if pairs else row
            yield (sample, row["y"]) if pairs else sample

    async def later() -> AsyncIterator[Any]:
        for item in refilled():
            yield item

    columns = Columns(target="y", task=Task.CLASSIFICATION)
    found = read(IterableSource(later() if asynchronous else refilled(), columns=columns))[1]
    assert content(found) == content(read(IterableSource(ROWS, columns=columns))[1])


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_source_resumes_after_every_sample(asynchronous: bool) -> None:
    rows: list[Any] = [{"x": 1, "y": "a"}, {"y": "a", "z": 2}, 5, {"x": "w", "y": "a"}]
    rows += [{"x": 2, "y": None}, {"x": 3, "y": "b"}, {"w": "q", "y": "b"}]

    def make() -> IterableSource:
        return IterableSource(slowly(rows) if asynchronous else rows, target="y")

    whole = content(read(make())[1])
    for number, (_, mark, *_) in enumerate(whole.samples):
        after = Position("iterable", mark[0] + 1, mark[1] + 1, 0)
        rest = content(read(make(), after)[1])
        assert rest.samples == whole.samples[number + 1 :]
        assert rest.letters == [one for one in whole.letters if one.offset > mark[0]]


def test_arrived_samples_are_returned_without_waiting(backend: str) -> None:
    async def main() -> None:
        send, receive = anyio.create_memory_object_stream[dict[str, Any]](10)
        source = IterableSource(receive, target="y", task=Task.CLASSIFICATION)
        with anyio.fail_after(20):
            assert (await source.open()).task is Task.CLASSIFICATION
            for count in (1, 3, 2):
                for number in range(count):
                    await send.send({"x": number, "y": "a"})
                await anyio.wait_all_tasks_blocked()
                block = await source.receive()
                assert block is not None
                assert len(block) == count
            await send.aclose()
            assert await source.receive() is None
            await source.aclose()

    anyio.run(main, backend=backend)


def test_waiting_can_be_cancelled_without_losing_a_sample(backend: str) -> None:
    async def main() -> list[Block]:
        send, receive = anyio.create_memory_object_stream[dict[str, Any]]()
        source = IterableSource(receive, target="y", task=Task.CLASSIFICATION)
        await source.open()

        async def give() -> None:
            async with send:
                for number in range(200):
                    await send.send({"x": number, "y": "a"})
                    await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as group:
            group.start_soon(give)
            blocks = await drain_in_moments(source, 0)
        await source.aclose()
        return blocks

    assert numbers(anyio.run(main, backend=backend)) == list(range(200))


def test_a_list_needs_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> list[Block]:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", None)
            return (await drain(IterableSource(ROWS[:30], target="y")))[1]

    assert len(numbers(anyio.run(main))) == 30


def test_a_resumed_source_keeps_the_inferred_task(run: Callable[..., Any]) -> None:
    source = IterableSource(iter(ROWS), target="x")
    assert run(drain, source)[0].task is Task.REGRESSION
    again = IterableSource(iter(ROWS[:5]), target="x")
    again.restore_state(source.export_state(None))
    assert run(drain, again)[0].task is Task.REGRESSION
    assert run(drain, IterableSource(iter(ROWS[:5]), target="x"))[0].task is Task.CLASSIFICATION


def test_an_asynchronous_iterable_may_yield_pairs_if_the_task_is_known() -> None:
    pairs = [({"x": row["x"]}, row["y"]) for row in ROWS]
    source = IterableSource(slowly(pairs), target="y", task=Task.CLASSIFICATION)
    assert numbers(read(source)[1]) == list(range(2500))


def test_closing_ends_the_iterable_in_its_own_task(backend: str) -> None:
    events = []

    async def endless() -> AsyncIterator[dict[str, Any]]:
        events.append(anyio.get_current_task().id)
        try:
            while True:
                yield {"x": 1, "y": "a"}
                await anyio.sleep_forever()
        finally:
            events.append(anyio.get_current_task().id)

    async def main() -> None:
        source = IterableSource(endless(), target="y")
        await source.open()
        assert len(await source.receive() or ()) == 1
        async with anyio.create_task_group() as group:
            group.start_soon(source.aclose)
        assert await source.receive() is None

    anyio.run(main, backend=backend)
    first, last = events
    assert first == last


def test_an_unclosed_source_does_not_block_the_event_loop(backend: str) -> None:
    async def endless() -> AsyncIterator[dict[str, Any]]:
        yield {"x": 1, "y": "a"}
        await anyio.sleep_forever()

    async def main() -> int:
        source = IterableSource(endless(), target="y")
        await source.open()
        return len(await source.receive() or ())

    assert anyio.run(main, backend=backend) == 1


def test_an_iterable_is_not_drained_ahead_of_need(backend: str) -> None:
    taken = 0

    async def counting() -> AsyncIterator[dict[str, Any]]:
        nonlocal taken
        while True:
            taken += 1
            yield {"x": 1, "y": "a"}

    async def main() -> None:
        source = IterableSource(counting(), target="y")
        await source.open()
        for _ in range(3):
            await source.receive()
            await anyio.wait_all_tasks_blocked()
        await source.aclose()

    anyio.run(main, backend=backend)
    assert taken <= 5 * 1024


@pytest.mark.parametrize("asynchronous", [False, True])
def test_samples_before_an_error_are_returned(asynchronous: bool) -> None:
    def breaking() -> Iterator[dict[str, Any]]:
        yield {"x": 1, "y": "a"}
        yield {"x": 2, "y": "a"}
        raise KeyError("gone")

    async def breaking_later() -> AsyncIterator[dict[str, Any]]:
        for row in breaking():
            yield row

    blocks = []

    async def main() -> None:
        source = IterableSource(breaking_later() if asynchronous else breaking(), target="y")
        await source.open()
        try:
            while (block := await source.receive()) is not None:
                blocks.append(block)
        finally:
            await source.aclose()

    with pytest.raises(DataError, match=r"failed \(KeyError: 'gone'\)") as caught:
        anyio.run(main)
    assert isinstance(caught.value.__cause__, KeyError)
    assert numbers(blocks) == [1.0, 2.0]


@pytest.mark.parametrize(
    ("targets", "task"),
    [
        ([0.5, 1], Task.REGRESSION),
        ([1.0, 2.0], Task.CLASSIFICATION),
        (list(range(30)), Task.REGRESSION),
        ([" 0.5", "1"], Task.REGRESSION),
        ([None, "a"], Task.CLASSIFICATION),
    ],
)
def test_the_task_is_inferred_from_the_first_targets_of_a_synchronous_iterable(
    targets: list[Any], task: Task
) -> None:
    schema, blocks = read(IterableSource([({"x": 1}, target) for target in targets]))
    assert (schema.target, schema.task) == ("target", task)
    assert (sum(map(len, blocks)), reasons(blocks)) == (len(targets), [])


def test_the_task_is_inferred_from_targets_in_rows_of_a_frame() -> None:
    # The first one alone, which is no whole number of Python, would tell another task.
    rows: list[Any] = [FrameRow({"x": i, "y": 1.0 + i % 2}) for i in range(5)]
    schema, blocks = read(IterableSource(rows, target="y"))
    assert schema.task is Task.CLASSIFICATION
    assert (sum(map(len, blocks)), reasons(blocks)) == (5, [])


def test_the_task_is_inferred_from_the_first_target_of_an_asynchronous_iterable() -> None:
    rows = [{"x": 1, "y": None}, {"x": 1}, {"x": 1, "y": 2.0}]
    schema, blocks = read(IterableSource(slowly(rows), target="y"))
    assert schema.task is Task.REGRESSION
    assert {block.schema for block in blocks} == {schema}
    targets = np.concatenate([block.target for block in blocks if block.target is not None])
    assert repr(targets.tolist()) == "[nan, nan, 2.0]"
    assert reasons(blocks) == []


@given(st.lists(st.integers() | st.tuples(st.just(1)) | st.tuples(st.just({"x": 1}), st.just(2))))
def test_anything_is_accepted_or_rejected(items: list[Any]) -> None:
    items = [({"x": 1}, "a"), *items]
    samples, letters = content(read(IterableSource(items))[1])
    assert len(samples) + len(letters) == len(items)
    good = [item for item in items if isinstance(item, tuple) and len(item) == 2]
    assert len(samples) == len(good)


@pytest.mark.parametrize("rows", [[], [{"x": 1, "y": None}, {"y": None}]])
def test_nothing_to_learn_is_refused(rows: list[Any]) -> None:
    for iterable in (rows, slowly(rows)):
        with pytest.raises(DataError, match="holds no sample"):
            read(IterableSource(iterable, target="y", name="mine"))


@pytest.mark.parametrize("plain", [False, True])
def test_a_target_that_no_sample_has_is_an_error_after_the_head(backend: str, plain: bool) -> None:
    given = 0

    def endless() -> Iterator[dict[str, Any]]:
        nonlocal given
        for given in count(1):
            yield {"x": given, "label": "a"}

    async def endless_later() -> AsyncIterator[dict[str, Any]]:
        for row in endless():
            yield row

    iterable = endless() if plain else endless_later()
    said = (
        "mine has no target 'lable' in its first 1,000 samples, only 'x', 'label'. "
        "Did you mean 'label'?"
    )
    with pytest.raises(SchemaError, match=f"^{re.escape(said)}$"):
        anyio.run(drain, IterableSource(iterable, target="lable", name="mine"), backend=backend)
    assert given <= 4 * 1024


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"x": 1}] * 3, "iterable has no target 'y', only 'x'."),
        ([{"x": 1, "y": None}] * 3, "holds no sample with a target: the target 'y' is missing"),
        (
            [{"x": 1, "y": None}] * 1001,
            "with a target in its first 1,000 samples: the target 'y' is missing",
        ),
        ([1, 2], "holds no sample with a target: the sample is not a mapping of names to values"),
        ("abc", "the sample is not a mapping of names to values"),
        ([({"x": 1}, None)], "the target 'y' is missing"),
    ],
)
def test_the_reason_why_no_sample_has_a_target_is_reported(rows: Any, said: str) -> None:
    with pytest.raises(DataError, match=re.escape(said)):
        read(IterableSource(rows, target="y"))


def test_settings_are_given_once() -> None:
    with pytest.raises(ConfigurationError, match="columns is given"):
        IterableSource([], target="y", columns=Columns())


def test_a_value_that_is_not_iterable_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="iterable is of type NoneType, but must be a "):
        IterableSource(None)  # type: ignore[arg-type]
    with pytest.raises(
        ConfigurationError, match="iterable of samples; call it and pass its result"
    ):
        IterableSource(numbers)  # type: ignore[arg-type]


def test_kinds_may_be_chosen() -> None:
    source = IterableSource([{"x": 1, "y": 1}], target="y", kinds={"x": Kind.CATEGORY})
    _, (block,) = read(source)
    assert block.words[0].tolist() == ["1"]


@pytest.mark.parametrize("error", [CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_a_failing_iterable_is_an_error(
    run: Callable[..., Any], error: type[BaseException]
) -> None:
    """Whatever it awaits may be cancelled by others: what comes behind it is not learned."""

    async def broken() -> AsyncIterator[Any]:
        for row in ROWS[:300]:
            yield row
        raise error

    blocks: list[Block] = []

    async def main() -> None:
        source = IterableSource(broken(), target="y", task=Task.CLASSIFICATION)
        try:
            await source.open()
            while (block := await source.receive()) is not None:
                blocks.append(block)
        finally:
            await source.aclose()

    with pytest.raises(DataError, match=rf"iterable failed \({error.__name__} was raised in it"):
        run(main)
    assert numbers(blocks) == list(range(300))


def test_a_frame_as_a_sample_is_one_rejected_record(run: Callable[..., Any]) -> None:
    class Frame:
        def keys(self) -> object:
            return object()  # like an index of columns, which can't be compared

    rows: list[Any] = [*ROWS[:5], Frame(), *ROWS[5:9]]
    blocks = run(drain, IterableSource(rows, target="y", task=Task.CLASSIFICATION))[1]
    assert numbers(blocks) == list(range(9))
    assert [reason for _, reason in reasons(blocks)] == ["type"]


SECONDS = 30


def test_a_waiting_synchronous_iterable_returns_what_has_arrived(backend: str) -> None:
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


def test_waiting_for_a_synchronous_iterable_can_be_cancelled_without_losing_a_sample(
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
        blocks = await drain_in_moments(source, 0.001)
        await source.aclose()
        return blocks

    assert numbers(anyio.run(main, backend=backend)) == list(range(3000))


def test_a_synchronous_iterable_is_used_by_one_thread_and_by_none_once_closed(backend: str) -> None:
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


def test_a_cancellation_inside_a_synchronous_iterable_is_an_error() -> None:
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
