"""A run resumes exactly, also from an earlier generation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from streamnet.durability.state_directory import StateDirectory
from streamnet.errors import ConfigurationError, StateError
from streamnet.pipeline.maintenance import read_state_status, roll_back
from streamnet.pipeline.outputs import Sink
from streamnet.samples import Task
from tests.learning.streams import differences
from tests.pipeline.block_sources import ROUND
from tests.pipeline.interrupted_runs import (
    CrashError,
    Left,
    close,
    crashed,
    finished,
    go,
    left,
    made,
)


@pytest.fixture(scope="module")
def first_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("first")


@cache
def expected(task: Task, folder: Path) -> Left:
    return finished(folder / str(task), task)


@pytest.mark.parametrize("task", list(Task))
def test_repeated_interruptions_leave_no_trace(
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


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("delay", [0, 100])
def test_interruptions_leave_no_trace_in_intervals(tmp_path: Path, task: Task, delay: int) -> None:
    options: dict[str, Any] = {"interval": 0.8, "label_delay": delay}
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    for turn, crash in enumerate([10, 201, 640, 1100]):
        pipeline = made(tmp_path / "a", task, pace=turn, largest=40, crash=crash, **options)
        with pytest.raises(CrashError):
            go(pipeline)
    pipeline = made(tmp_path / "a", task, pace=99, block_size=37, threads=1, **options)
    go(pipeline)
    whole = made(tmp_path / "b", task, **options)
    go(whole)
    assert left(tmp_path / "a", pipeline) == left(tmp_path / "b", whole)


@pytest.mark.parametrize("cut", range(0, 2 * ROUND + 9, 7))
def test_a_checkpoint_may_be_at_any_block(tmp_path: Path, first_folder: Path, cut: int) -> None:
    """Also within a round, where the number of decisions on their way is another one."""
    task, number = Task.CLASSIFICATION, 5 * ROUND - 60 + cut
    state = {"every_samples": 1}
    with pytest.raises(CrashError):
        go(made(tmp_path, task, pace=cut, largest=1 + cut % 90, crash=number, state=state))
    pipeline = made(tmp_path, task, pace=cut + 1)
    go(pipeline)
    assert left(tmp_path, pipeline) == expected(task, first_folder)


def test_running_a_finished_run_again_leaves_the_same(tmp_path: Path, first_folder: Path) -> None:
    for _ in range(3):
        pipeline = made(tmp_path, Task.CLASSIFICATION)
        go(pipeline)
        assert left(tmp_path, pipeline) == expected(Task.CLASSIFICATION, first_folder)


def test_a_stopped_run_resumes(tmp_path: Path, first_folder: Path, backend: str) -> None:
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


def test_a_cancelled_run_resumes(tmp_path: Path, first_folder: Path, backend: str) -> None:
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


TASK = Task.CLASSIFICATION


def test_a_rolled_back_run_resumes_under_a_new_lineage(tmp_path: Path) -> None:
    state = {"every_samples": 1, "generations": 100}
    first = made(tmp_path, TASK, samples=2600, state=state, fading=0.9)
    go(first)
    expected = left(tmp_path, first)
    numbers = StateDirectory(tmp_path / "state").generations.numbers()
    generations = StateDirectory(tmp_path / "state").generations
    assert first.state is not None
    # The last one after which another model was emitted.
    emitted = first.state.emitted
    middle = [n for n in numbers if generations.load(n)["emitted"] < emitted][-1]
    before = generations.load(middle)
    number = roll_back(tmp_path / "state", middle)
    assert number == numbers[-1] + 1
    pointed = read_state_status(tmp_path / "state").parts[""].current
    assert pointed is None or pointed.generation == before["emitted"]
    again = made(tmp_path, TASK, samples=2600, state=state, fading=0.9)
    go(again)
    found = left(tmp_path, again)
    assert again.state is not None
    assert again.state.lineage != first.state.lineage
    # The same bits in all but the models' lineage; and what came later was published again.
    assert found._replace(models={}) == expected._replace(models={})
    current = read_state_status(tmp_path / "state").parts[""].current
    assert current is not None
    assert (current.lineage, current.generation) == (again.state.lineage, first.state.emitted)


def test_a_rolled_back_run_falls_back_to_what_its_outputs_have(tmp_path: Path) -> None:
    """A crash behind the cut of its outputs, and then a damaged newest generation."""
    state = {"every_samples": 64, "generations": 100}
    first = made(tmp_path, TASK, samples=1300, state=state)
    go(first)
    expected = left(tmp_path, first)
    generations = StateDirectory(tmp_path / "state").generations
    numbers = generations.numbers()
    cuts = [generations.load(number)["reading"]["number"] for number in numbers]
    # While others use the disk there are few: there must be samples behind it to crash at.
    place = min(2, len(numbers) - 2)
    early, late, cut = numbers[place], numbers[-1], cuts[place]
    assert cut < cuts[-1] == 1300
    newest = roll_back(tmp_path / "state", early)
    assert generations.numbers() == [*numbers, newest]

    crashed(tmp_path, cut, samples=1300, state={**state, "every_samples": None})
    assert generations.numbers()[: place + 2] == [*numbers[: place + 1], newest]
    with pytest.raises(StateError, match=f"no generation {late}"):
        roll_back(tmp_path / "state", late)
    for number in generations.numbers()[place + 1 :]:
        path = generations.folder / f"{number:012d}.checkpoint"
        path.write_bytes(path.read_bytes()[:-1])
    again = made(tmp_path, TASK, samples=1300, state=state)
    go(again)
    assert left(tmp_path, again)._replace(models={}) == expected._replace(models={})


def test_a_refused_run_loses_no_generation_that_a_rollback_left(tmp_path: Path) -> None:
    state = {"every_samples": 64, "generations": 100}
    go(made(tmp_path, TASK, samples=700, state=state))
    generations = StateDirectory(tmp_path / "state").generations
    roll_back(tmp_path / "state", generations.numbers()[2])
    numbers = generations.numbers()
    again = made(tmp_path, TASK, samples=700, state=state)

    def refuse(*_: object) -> Sequence[Sink]:
        raise ConfigurationError("no")

    again.parts[""].prepare = refuse
    with pytest.raises(ConfigurationError, match="no"):
        go(again)
    assert generations.numbers() == numbers


def test_a_second_rollback_forgets_what_the_first_one_left(tmp_path: Path) -> None:
    state = {"every_samples": 64, "generations": 100}
    go(made(tmp_path, TASK, samples=700, state=state))
    generations = StateDirectory(tmp_path / "state").generations
    beginning, *others = generations.numbers()
    first = roll_back(tmp_path / "state", beginning)
    second = roll_back(tmp_path / "state", first)
    assert generations.numbers() == [beginning, *others, first, second]
    assert generations.load(second)["rolled_back_to"] == beginning
    crashed(tmp_path, 0, samples=700, state={**state, "every_samples": None})
    assert generations.numbers() == [beginning, second]


def test_rolling_back_to_an_absent_generation_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="is not a state directory"):
        roll_back(tmp_path, 1)
    crashed(tmp_path, 300)
    with pytest.raises(StateError, match="no generation 99999"):
        roll_back(tmp_path / "state", 99_999)
