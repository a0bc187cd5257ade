"""The start population and grids of settings."""

from __future__ import annotations

import pytest

from streamnet.errors import ConfigurationError
from streamnet.learning import Learner, default_population
from streamnet.pipeline.state import build_identity
from streamnet.runs.builder import build_candidates
from streamnet.samples import Task
from streamnet.settings.learning import expand_grid, parse_hidden
from streamnet.settings.run import parse


def test_a_grid_holds_every_combination_once_the_last_setting_turning_fastest() -> None:
    found = expand_grid(optimizer=["sgd", "adam"], learning_rate=[0.1, 0.2, 0.3])
    assert [(c.optimizer, c.learning_rate) for c in found] == [
        (optimizer, rate) for optimizer in ("sgd", "adam") for rate in (0.1, 0.2, 0.3)
    ]


@pytest.mark.parametrize("candidates", [1, 3, 5])
def test_a_grid_of_another_size_takes_the_first_combinations_or_repeats_them(
    candidates: int,
) -> None:
    found = [c.learning_rate for c in expand_grid(candidates, learning_rate=[0.1, 0.2, 0.3])]
    assert found == [0.1, 0.2, 0.3, 0.1, 0.2][:candidates]


@pytest.mark.parametrize(
    ("text", "hidden"), [("linear", ()), ("none", ()), ("20", (20,)), ("64-32", (64, 32))]
)
def test_hidden_layers_are_described_by_a_text(text: str, hidden: tuple[int, ...]) -> None:
    assert parse_hidden(text) == hidden


@pytest.mark.parametrize("text", ["", "64-", "64x32", "-1", "²"])
def test_another_text_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="must be like 20, 64-32 or linear"):
        parse_hidden(text)


def test_a_larger_start_population_begins_with_the_smaller_one() -> None:
    assert default_population(16)[:5] == default_population(5)
    assert default_population(80)[:16] == default_population(16)


def test_no_two_of_eighty_candidates_have_the_same_settings() -> None:
    assert len(set(default_population(80))) == 80


@pytest.mark.parametrize("candidates", [0, 513])
def test_a_start_population_out_of_range_is_refused(candidates: int) -> None:
    with pytest.raises(ConfigurationError, match="must be from 1 to 512"):
        default_population(candidates)


def test_a_shared_model_of_keys_has_the_first_ten() -> None:
    assert default_population(keyed=True) == default_population(10)
    assert default_population(12, keyed=True) == default_population(12)
    assert build_candidates(parse("keys.key = ['a']")) == default_population(10)
    learner = Learner(task=Task.REGRESSION, key=("a",))
    shared = [member.settings.describe() for member in learner.trainer.population.members]
    assert shared == [one.for_task(Task.REGRESSION).describe() for one in default_population(10)]
    identity = build_identity(candidates=None, start=None, seed=0, key=["a"])
    assert identity["candidates"] == [one.as_dict() for one in default_population(10)]


def test_where_labels_arrive_late_candidates_that_average_over_more_samples_follow() -> None:
    late = default_population(delayed=True)
    assert late[:23] == default_population()
    assert len(late) == 35
    assert all(one.batch_size > 1 or one.optimizer in ("sgd", "adagrad") for one in late[23:27])
    assert all(one.rehearsal >= 8 and one.memory == 20_000 for one in late[27:])
