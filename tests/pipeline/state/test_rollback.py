"""Rolled back, a run goes on from an earlier generation; what it left behind does no harm."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from streamnet.durability.state_directory import StateDirectory
from streamnet.errors import ConfigurationError, StateError
from streamnet.pipeline.maintenance import read_state_status, roll_back
from streamnet.pipeline.outputs import Sink
from streamnet.samples import Task
from tests.pipeline.interrupted_runs import crashed, go, left, made

TASK = Task.CLASSIFICATION


def test_a_run_that_is_rolled_back_goes_on_under_a_new_lineage(tmp_path: Path) -> None:
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
    pointed = read_state_status(tmp_path / "state").current
    assert pointed is None or pointed.generation == before["emitted"]
    again = made(tmp_path, TASK, samples=2600, state=state, fading=0.9)
    go(again)
    found = left(tmp_path, again)
    assert again.state is not None
    assert again.state.lineage != first.state.lineage
    # The same bits in all but the models' lineage; and what came later was published again.
    assert found._replace(models={}) == expected._replace(models={})
    current = read_state_status(tmp_path / "state").current
    assert current is not None
    assert (current.lineage, current.generation) == (again.state.lineage, first.state.emitted)


def test_a_run_that_was_rolled_back_falls_back_to_what_its_outputs_have(tmp_path: Path) -> None:
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


def test_a_run_that_is_refused_loses_no_generation_that_a_rollback_left(tmp_path: Path) -> None:
    state = {"every_samples": 64, "generations": 100}
    go(made(tmp_path, TASK, samples=700, state=state))
    generations = StateDirectory(tmp_path / "state").generations
    roll_back(tmp_path / "state", generations.numbers()[2])
    numbers = generations.numbers()
    again = made(tmp_path, TASK, samples=700, state=state)

    def refuse(*_: object) -> Sequence[Sink]:
        raise ConfigurationError("no")

    again._prepare = refuse
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


def test_rolling_back_to_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="is not a state directory"):
        roll_back(tmp_path, 1)
    crashed(tmp_path, 300)
    with pytest.raises(StateError, match="no generation 99999"):
        roll_back(tmp_path / "state", 99_999)
