"""The start population and grids of settings."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streamnet.errors import ConfigurationError
from streamnet.learning import Learner, default_population
from streamnet.networks.topology import Capacity, estimate_cost
from streamnet.pipeline.state import build_identity, describe_changes
from streamnet.runs.builder import build_candidates, learner_arguments
from streamnet.samples import Task
from streamnet.settings.candidate import CandidateSettings
from streamnet.settings.learning import expand_grid, parse_hidden
from streamnet.settings.run import parse
from streamnet.trees.boosted_trees import BoostedTrees


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


ROOM = Capacity(dense=16, rows=64, outputs=2)


def cost(candidates: list[CandidateSettings]) -> float:
    return sum(estimate_cost(one, ROOM) for one in candidates)


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("delayed", [False, True])
def test_less_effort_takes_the_cheapest_of_the_default_candidates(keyed, delayed) -> None:
    usual = default_population(keyed=keyed, delayed=delayed)
    before: list[CandidateSettings] = []
    for effort in (0.25, 0.5, 0.75):
        found = default_population(effort=effort, keyed=keyed, delayed=delayed)
        assert found[: len(before)] == before
        left = [one for one in usual if one not in found]
        assert len(found) + len(left) == len(usual)
        assert max(cost([one]) for one in found) <= min(cost([one]) for one in left)
        assert cost(found) <= effort * cost(usual)
        before = found
    assert any(one.lags for one in default_population(effort=0.25))


def test_more_effort_rehearses_more_and_adds_candidates() -> None:
    usual = default_population()
    before = cost(usual)
    for effort in (2.0, 4.0, 16.0):
        found = default_population(effort=effort)
        for one, other in zip(usual, found, strict=False):
            memory = round(effort * one.memory) if one.rehearsal else one.memory
            rehearsal = round(effort * one.rehearsal)
            assert other == replace(one, rehearsal=rehearsal, memory=memory)
        assert len(found) > len(usual)
        assert cost(found) > before
        before = cost(found)
    assert default_population(effort=1.0) == usual


def test_a_given_number_of_candidates_stands_whatever_the_effort() -> None:
    cheapest = sorted(default_population(), key=lambda one: cost([one]))
    assert default_population(3, effort=0.25) == cheapest[:3]
    assert default_population(9, effort=0.25) == build_candidates(
        parse("population.candidates = 9\npopulation.effort = 0.25")
    )
    assert len(default_population(9, effort=0.25)) == 9
    assert len(default_population(5, effort=8.0)) == 5


def test_a_learner_has_the_candidates_and_the_trees_of_its_effort() -> None:
    for effort, trees in ((0.25, 10), (1.0, 40), (4.0, 80)):
        learner = Learner(task=Task.CLASSIFICATION, effort=effort)
        members = [member.settings for member in learner.trainer.population.members]
        labels = [one.for_task(Task.CLASSIFICATION) for one in default_population(effort=effort)]
        assert members == labels
        grown = learner.serving.contenders.experts["trees"]
        assert isinstance(grown, BoostedTrees)
        assert grown.size.trees == trees
    identity = build_identity(candidates=None, start=None, seed=0, effort=0.25)
    assert len(identity["candidates"]) == len(default_population(effort=0.25))
    changed = describe_changes(identity, build_identity(candidates=None, start=None, seed=0))
    assert changed[0] == "effort is not given, but was 0.25"


def test_an_effort_that_would_change_nothing_is_refused() -> None:
    few = [CandidateSettings()]
    rule = "effort is 2, but must be 1 where the candidates are given and there are no trees"
    with pytest.raises(ConfigurationError, match=rule):
        Learner(task=Task.CLASSIFICATION, candidates=few, effort=2.0)
    with pytest.raises(ConfigurationError, match=rule):
        learner_arguments(parse("population.hidden = 8\npopulation.effort = 2.0"))
    with_trees = parse("population.hidden = 8\npopulation.effort = 2.0\nselection.trees = 500")
    arguments = learner_arguments(with_trees)
    assert (arguments["trees"], arguments["effort"]) == (500, 2.0)
    Learner(task=Task.CLASSIFICATION, candidates=few, **arguments)
    assert "effort" not in learner_arguments(parse("population.effort = 1.0"))
    with pytest.raises(ConfigurationError, match=r"effort is 0.1, but must be >= 0.25"):
        Learner(task=Task.CLASSIFICATION, effort=0.1)


def test_where_labels_arrive_late_candidates_that_average_over_more_samples_follow() -> None:
    late = default_population(delayed=True)
    assert late[:23] == default_population()
    assert len(late) == 35
    assert all(one.batch_size > 1 or one.optimizer in ("sgd", "adagrad") for one in late[23:27])
    assert all(one.rehearsal >= 8 and one.memory == 20_000 for one in late[27:])
