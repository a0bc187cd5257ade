"""The life of a pipeline: how it begins, waits, ends, breaks and is cancelled."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from queue import Queue
from typing import Any

import anyio
import pytest
from anyio import from_thread
from anyio.lowlevel import checkpoint
from msgspec.structs import replace

from streamnet.errors import ConfigurationError, DataError, NoCandidateError
from streamnet.learning.learner import Learner
from streamnet.learning.serving import Served
from streamnet.pipeline import Pipeline
from streamnet.pipeline.concurrency import first_cause as first_of
from streamnet.pipeline.reader import BlockSplitter
from streamnet.samples import Schema, Task
from streamnet.settings.candidate import CandidateSettings
from streamnet.sources import IterableSource
from tests.conftest import Runner
from tests.learning.streams import stream
from tests.pipeline.block_sources import (
    CANDIDATES,
    N,
    Playing,
    checksum,
    counting,
    in_loop,
    pipeline_of,
    plain,
)


def test_channels_never_hold_more_than_their_bound_behind_a_slow_sink(run: Runner) -> None:
    waiting: list[tuple[int, ...]] = []
    ahead: list[int] = []
    source = Playing(stream(Task.REGRESSION, 4000), largest=60)

    async def look() -> None:
        # Till all channels are full, or the source is at its end; and whatever moves after that.
        while min(pipeline.statistics().waiting) < 4 and source.given < len(source.block):
            await checkpoint()
        waiting.append(pipeline.statistics().waiting)
        for _ in range(20):
            await checkpoint()
            waiting.append(pipeline.statistics().waiting)

    def sink(served: Served) -> None:
        from_thread.run(look)
        ahead.append(source.given - served.predicted.first)

    # In one long round training need not wait for a decision, which is another bound.
    # And all work is done in threads.
    pipeline = pipeline_of(
        source, sinks=[sink], block_size=20, round_size=100_000, inline_seconds=-1.0
    )
    run(pipeline.run)
    assert waiting[0] == (4,) * 5
    assert max(max(blocks) for blocks in waiting) == 4
    # Five channels of four blocks, a block in each of six stages, and the source's own.
    assert max(ahead) <= (5 * 4 + 6) * 20 + 60


def test_a_source_that_fails_is_learned_up_to_there_and_its_error_is_raised(run: Runner) -> None:
    block = stream(Task.CLASSIFICATION, N)
    numbers, sink = counting()
    broken = pipeline_of(Playing(block, breaks_off=True), sinks=[sink])
    with pytest.raises(DataError, match=r"^s\.csv: the cable was cut$"):
        run(broken.run)
    assert numbers == list(range(N))
    whole = pipeline_of(Playing(block, seed=5))
    expected = run(whole.run)
    result = broken.result()
    assert checksum(result.model) == checksum(expected.model)
    assert plain(result.report) == plain(expected.report)


def test_stopping_ends_reading_and_processes_what_was_read(run: Runner) -> None:
    source = Playing(stream(Task.REGRESSION, N), ends=False)
    numbers, sink = counting()
    pipeline = pipeline_of(source, sinks=[sink])

    async def main() -> None:
        async with pipeline:
            await source.waits.wait()

    run(main)
    assert numbers == list(range(N))
    assert pipeline.report()["learned"] == N
    assert source.closed


def test_stopping_in_the_middle_learns_a_prefix_of_the_stream_to_the_bit(run: Runner) -> None:
    block = stream(Task.REGRESSION, N)
    pipeline: Pipeline = pipeline_of(
        Playing(block, largest=90), block_size=16, sinks=[lambda _: in_loop(pipeline.stop)]
    )
    result = run(pipeline.run)
    learned = result.report["learned"]
    assert 0 < learned < N
    expected = run(pipeline_of(Playing(block.part(0, learned))).run)
    assert result.report["rejected"] == len(block.part(0, learned).rejected)
    assert checksum(result.model) == checksum(expected.model)


def test_stopping_before_the_first_sample_leaves_nothing(run: Runner) -> None:
    async def silence() -> AsyncIterator[dict[str, Any]]:
        await anyio.Event().wait()
        yield {}

    pipeline = Pipeline(IterableSource(silence(), target="y"), candidates=CANDIDATES)

    async def main() -> None:
        async with pipeline:
            await checkpoint()

    run(main)
    with pytest.raises(NoCandidateError):
        pipeline.result()


def test_an_error_leaves_the_block_although_an_iterable_blocks(run: Runner) -> None:
    queue: Queue[dict[str, Any]] = Queue()
    for number in range(1100):
        queue.put({"x": number % 7, "y": "ab"[number % 2]})
    pipeline = Pipeline(IterableSource(iter(queue.get, None), target="y"), candidates=CANDIDATES)

    async def main() -> None:
        async with pipeline:
            while pipeline.statistics().samples < 1100:
                await checkpoint()
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run(main)


def test_a_pipeline_runs_only_once(run: Runner) -> None:
    pipeline = pipeline_of(Playing(stream(Task.REGRESSION, 50)))
    run(pipeline.run)
    with pytest.raises(ConfigurationError, match="only once"):
        run(pipeline.run)
    assert pipeline.report()["learned"] == 50


@pytest.mark.parametrize("block_size", [4, 500])
def test_an_error_in_a_sink_ends_the_run_with_that_very_error(run: Runner, block_size: int) -> None:
    error = ZeroDivisionError("in the sink")
    source = Playing(stream(Task.REGRESSION, N), ends=False)

    def sink(served: Served) -> None:
        if served.predicted.first > 200:
            raise error

    pipeline = pipeline_of(source, sinks=[sink], block_size=block_size)
    with pytest.raises(ZeroDivisionError) as found:
        run(pipeline.run)
    assert found.value is error
    assert source.closed
    assert pipeline.report()["learned"] > 200
    json.dumps(pipeline.report(), allow_nan=False)


def test_of_several_errors_the_cause_is_raised_and_not_what_follows_from_it() -> None:
    cause = ZeroDivisionError()
    closed = BaseExceptionGroup("", [anyio.BrokenResourceError(), anyio.ClosedResourceError()])
    assert first_of(BaseExceptionGroup("", [closed, BaseExceptionGroup("", [cause])])) is cause
    assert isinstance(first_of(closed), anyio.BrokenResourceError)


def test_an_error_in_a_sink_reaches_the_body_that_follows_champions(run: Runner) -> None:
    def sink(_: Served) -> None:
        raise ZeroDivisionError

    pipeline = pipeline_of(Playing(stream(Task.REGRESSION, N), ends=False), sinks=[sink])

    async def main() -> None:
        async with pipeline:
            async for _ in pipeline.champions():
                pass
            await anyio.Event().wait()  # the error cancels this, too

    with pytest.raises(ZeroDivisionError):
        run(main)


def test_an_error_in_the_body_ends_the_run_with_that_very_error(run: Runner) -> None:
    source = Playing(stream(Task.REGRESSION, N), ends=False)
    error = KeyError("in the body")

    async def main() -> None:
        async with pipeline_of(source) as pipeline:
            async for _ in pipeline.champions():
                raise error

    with pytest.raises(KeyError) as found:
        run(main)
    assert found.value is error
    assert source.closed


def test_an_error_in_the_body_keeps_its_cause_and_its_context(run: Runner) -> None:
    reason, errors = KeyError("why"), [ValueError("explained"), ValueError("met on the way")]

    async def main(explained: bool) -> None:
        async with pipeline_of(Playing(stream(Task.REGRESSION, N), ends=False)):
            try:
                raise reason
            except KeyError as met:
                if explained:
                    raise errors[0] from met
                raise errors[1]  # noqa: B904 - that is the point

    for explained, error in ((True, errors[0]), (False, errors[1])):
        with pytest.raises(ValueError, match=str(error)) as found:
            run(main, explained)
        assert found.value is error
        assert (error.__cause__ is reason) == explained
        assert error.__context__ is reason


def test_a_group_of_errors_that_the_body_raises_stays_a_group(run: Runner) -> None:
    async def break_with(error: Exception) -> None:
        raise error

    async def main() -> None:
        async with (
            pipeline_of(Playing(stream(Task.REGRESSION, N), ends=False)),
            anyio.create_task_group() as group,
        ):
            group.start_soon(break_with, KeyError("one"))
            group.start_soon(break_with, ValueError("two"))

    with pytest.raises(ExceptionGroup) as found:
        run(main)
    assert sorted(map(repr, found.value.exceptions)) == ["KeyError('one')", "ValueError('two')"]


def test_an_error_of_the_source_keeps_its_cause_in_a_body_as_in_run(run: Runner) -> None:
    async def broken() -> AsyncIterator[dict[str, Any]]:
        yield {"x": 1, "y": "a"}
        raise KeyError("in the generator")

    async def within() -> None:
        async with pipeline_of(IterableSource(broken(), target="y")) as pipeline:
            async for _ in pipeline.champions():
                pass

    with pytest.raises(DataError) as in_body:
        run(within)
    with pytest.raises(DataError) as by_run:
        run(pipeline_of(IterableSource(broken(), target="y")).run)
    for found in (in_body, by_run):
        assert repr(found.value.__cause__) == "KeyError('in the generator')"


def test_an_error_in_a_stage_keeps_its_cause(run: Runner) -> None:
    reason = KeyError("why")

    def sink(_: Served) -> None:
        raise ZeroDivisionError from reason

    async def within() -> None:
        async with made() as pipeline:
            async for _ in pipeline.champions():
                pass
            await anyio.Event().wait()

    def made() -> Pipeline:
        return pipeline_of(Playing(stream(Task.REGRESSION, N), ends=False), sinks=[sink])

    for main in (within, made().run):
        with pytest.raises(ZeroDivisionError) as found:
            run(main)
        assert found.value.__cause__ is reason


def test_an_error_while_opening_closes_the_source_and_leaves_no_report(run: Runner) -> None:
    class Shut(Playing):
        async def open(self, after: Any = None) -> Schema:
            raise DataError("s.csv can't be read: No such file or directory")

    source = Shut(stream(Task.REGRESSION, 5))
    pipeline = pipeline_of(source)
    with pytest.raises(DataError, match="No such file"):
        run(pipeline.run)
    assert source.closed
    assert pipeline.statistics().samples == 0
    with pytest.raises(NoCandidateError):
        pipeline.report()


def test_an_error_in_preparing_leaves_a_report_of_nothing(run: Runner) -> None:
    def prepare(_: Learner, __: Schema) -> list[Any]:
        raise ConfigurationError("predictions can't be written")

    pipeline = pipeline_of(Playing(stream(Task.REGRESSION, 5)), prepare=prepare)
    with pytest.raises(ConfigurationError, match="predictions"):
        run(pipeline.run)
    report = pipeline.report()
    assert (report["samples"], report["learned"], report["served"]["mae"]) == (0, 0, None)
    assert report["startup_seconds"] > 0
    assert report["seconds"] == 0
    json.dumps(report, allow_nan=False)


def test_a_source_without_a_target_is_refused(run: Runner) -> None:
    block = stream(Task.REGRESSION, 5)
    block = replace(block, schema=Schema(block.schema.fields))
    with pytest.raises(ConfigurationError, match="target is not given, but must be one of"):
        run(pipeline_of(Playing(block)).run)


def test_candidates_for_labels_are_refused_once_the_source_has_numbers(run: Runner) -> None:
    pipeline = pipeline_of(
        Playing(stream(Task.REGRESSION, 5)), candidates=[CandidateSettings(output="softmax")]
    )
    with pytest.raises(ConfigurationError, match="output is 'softmax', but for a regression"):
        run(pipeline.run)


@pytest.mark.parametrize("setting", [{"threads": 0}, {"block_size": 0}, {"round_size": 0}])
def test_a_setting_out_of_range_is_refused_at_once(setting: dict[str, int]) -> None:
    ((name, _),) = setting.items()
    with pytest.raises(ConfigurationError, match=f"{name} is 0, but must be >= 1"):
        pipeline_of(Playing(stream(Task.REGRESSION, 5)), **setting)


def test_a_lost_record_is_noticed(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = BlockSplitter.cut
    monkeypatch.setattr(BlockSplitter, "cut", lambda self, block: [*cut(self, block)][:1])
    pipeline = pipeline_of(Playing(stream(Task.REGRESSION, N)))
    with pytest.raises(RuntimeError, match="records were read, but"):
        run(pipeline.run)


@pytest.mark.parametrize("blocks", [1, 7])
def test_cancelling_leaves_no_task_and_no_open_source(run: Runner, blocks: int) -> None:
    source = Playing(stream(Task.REGRESSION, N), ends=False)
    scopes: list[anyio.CancelScope] = []
    seen: list[int] = []

    def sink(served: Served) -> None:
        seen.append(served.predicted.first)
        if len(seen) == blocks:
            in_loop(scopes[0].cancel)

    pipeline = pipeline_of(source, sinks=[sink], block_size=100)

    async def main() -> None:
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            await pipeline.run()
        assert scope.cancelled_caught

    run(main)  # an event loop ends only when all its tasks have
    assert source.closed
    assert len(seen) <= blocks + 1


def test_cancelling_the_block_of_a_pipeline_ends_it(run: Runner) -> None:
    source = Playing(stream(Task.REGRESSION, N), ends=False)

    async def main() -> bool:
        with anyio.CancelScope() as scope:
            async with pipeline_of(source):
                await source.waits.wait()
                scope.cancel()
                await anyio.Event().wait()
        return scope.cancelled_caught

    assert run(main)
    assert source.closed


def test_a_time_limit_around_a_silent_stream_ends_it(run: Runner) -> None:
    source = Playing(stream(Task.REGRESSION, 30), ends=False)

    async def main() -> bool:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(pipeline_of(source).run)
                await source.waits.wait()
                scope.deadline = anyio.current_time() - 1
        return scope.cancelled_caught

    assert run(main)
    assert source.closed
