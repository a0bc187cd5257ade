"""A run that is broken off anywhere and gone on with leaves the bits of one that was not."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from streamnet.durability.state_directory import StateDirectory
from streamnet.samples import Task
from tests.learning.streams import differences
from tests.pipeline.block_sources import ROUND
from tests.pipeline.interrupted_runs import CrashError, Left, close, finished, go, left, made


@pytest.fixture(scope="module")
def first_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("first")


@cache
def expected(task: Task, folder: Path) -> Left:
    return finished(folder / str(task), task)


@pytest.mark.parametrize("task", list(Task))
def test_nothing_shows_that_a_run_was_broken_off_again_and_again(
    tmp_path: Path, first_folder: Path, task: Task, backend: str
) -> None:
    crashes = [10, 11, 200, 201, 3 * ROUND, 3 * ROUND + 1, 640, 900, 1100]
    for turn, crash in enumerate(crashes):
        pipeline = made(tmp_path, task, pace=turn, largest=3 + 20 * turn, crash=crash)
        with pytest.raises(CrashError):
            go(pipeline, backend)
    pipeline = made(tmp_path, task, pace=99, block_size=37, threads=1)
    go(pipeline, backend)
    assert left(tmp_path, pipeline) == expected(task, first_folder)


@pytest.mark.parametrize("cut", range(0, 2 * ROUND + 9, 7))
def test_a_cut_may_be_at_any_block(tmp_path: Path, first_folder: Path, cut: int) -> None:
    """Also within a round, where the number of decisions on their way is another one."""
    task, number = Task.CLASSIFICATION, 5 * ROUND - 60 + cut
    state = {"every_samples": 1}
    with pytest.raises(CrashError):
        go(made(tmp_path, task, pace=cut, largest=1 + cut % 90, crash=number, state=state))
    pipeline = made(tmp_path, task, pace=cut + 1)
    go(pipeline)
    assert left(tmp_path, pipeline) == expected(task, first_folder)


def test_a_run_that_has_ended_and_is_run_again_leaves_the_same(
    tmp_path: Path, first_folder: Path
) -> None:
    for _ in range(3):
        pipeline = made(tmp_path, Task.CLASSIFICATION)
        go(pipeline)
        assert left(tmp_path, pipeline) == expected(Task.CLASSIFICATION, first_folder)


def test_a_run_that_is_stopped_goes_on(tmp_path: Path, first_folder: Path, backend: str) -> None:
    async def stopped(samples: int) -> None:
        pipeline = made(tmp_path, Task.CLASSIFICATION, pace=samples, largest=30)
        async with pipeline:
            await pipeline.ready.wait()
            learner = pipeline.learner
            assert learner is not None
            while learner.trainer.number < samples:
                await anyio.lowlevel.checkpoint()
        close(pipeline)
        statistics = pipeline.state and pipeline.state.statistics()
        assert statistics
        # The last cut is behind all that was learned: nothing is learned twice.
        newest = StateDirectory(tmp_path / "state").generations.newest()
        assert newest is not None
        assert newest.tree["learner"]["trainer"]["number"] == learner.trainer.number

    for samples in (1, 100, 101, 500, 1000):
        anyio.run(stopped, samples, backend=backend)
    pipeline = made(tmp_path, Task.CLASSIFICATION)
    go(pipeline, backend)
    assert left(tmp_path, pipeline) == expected(Task.CLASSIFICATION, first_folder)


def test_a_cancelled_run_goes_on(tmp_path: Path, first_folder: Path, backend: str) -> None:
    async def cancelled(samples: int) -> None:
        pipeline = made(tmp_path, Task.CLASSIFICATION, pace=samples, largest=30)
        async with anyio.create_task_group() as group:
            group.start_soon(pipeline.run)
            await pipeline.ready.wait()
            assert pipeline.learner is not None
            while pipeline.learner.trainer.number < samples:
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        close(pipeline)

    for samples in (1, 100, 101, 500, 1000):
        anyio.run(cancelled, samples, backend=backend)
    pipeline = made(tmp_path, Task.CLASSIFICATION)
    go(pipeline, backend)
    assert left(tmp_path, pipeline) == expected(Task.CLASSIFICATION, first_folder)


def test_the_last_state_does_not_show_how_often_or_where_it_was_cut(tmp_path: Path) -> None:
    trees = []
    for turn, every in enumerate((1, 50, 10_000)):
        folder = tmp_path / "run"
        folder.mkdir()
        state = {"every_samples": every}
        go(made(folder, Task.CLASSIFICATION, pace=turn, largest=9 + 200 * turn, state=state))
        newest = StateDirectory(folder / "state").generations.newest()
        assert newest is not None
        trees.append(newest.tree)
        folder.rename(tmp_path / str(turn))  # names of files are part of a state
    assert differences(trees[0], trees[1]) == []
    assert differences(trees[0], trees[2]) == []


def test_checkpoints_change_nothing_in_what_is_learned(tmp_path: Path, first_folder: Path) -> None:
    pipeline = made(tmp_path, Task.CLASSIFICATION, state={"every_samples": 10_000})
    go(pipeline)
    assert left(tmp_path, pipeline) == expected(Task.CLASSIFICATION, first_folder)
