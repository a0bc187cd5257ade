"""The search: who makes room, for whom, and within which budget."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from streamnet.errors import ConfigurationError
from streamnet.networks.population import Member
from streamnet.networks.topology import Capacity, estimate_cost
from streamnet.selection.search import CandidateStats, Evolution
from streamnet.settings.candidate import CandidateSettings

ROOM = Capacity(dense=4, rows=64, outputs=2, lags=2)
START = [
    CandidateSettings(hidden=(16,), learning_rate=0.01 * (1 + i), rehearsal=i % 3, lags=i % 2 == 1)
    for i in range(8)
]


def stats(born: int = 0, stays: int = -1) -> list[CandidateStats]:
    """Slot i has the loss i, and the less weight the higher its slot is."""
    return [
        CandidateStats(i, Member(settings, i, born), float(i), 1.0 / (1 + i), i == stays)
        for i, settings in enumerate(START)
    ]


def asked(evolution: Evolution, rounds: int, size: int = 100, *, surge: bool = False) -> list[int]:
    """The rounds after which somebody makes room."""
    return [
        number
        for number in range(rounds)
        if evolution.is_due(number, surge=surge)
        and evolution.replacements(number, stats(), number=(number + 1) * size, capacity=ROOM)
    ]


def test_a_newcomer_comes_every_so_many_rounds_and_after_each_in_a_surge() -> None:
    evolution = Evolution(START, every=4, grace=0, budget=1e9)
    assert asked(evolution, 16) == [3, 7, 11, 15]
    assert asked(evolution, 6, surge=True) == [0, 1, 2, 3, 4, 5]
    assert asked(Evolution(START, every=0, grace=0, budget=1e9), 16, surge=True) == []


@pytest.mark.parametrize("size", [64, 1024])
def test_grace_is_counted_in_rounds_of_any_size(size: int) -> None:
    evolution = Evolution(START, every=1, grace=5, budget=1e9)
    assert asked(evolution, 8, size) == [4, 5, 6, 7]


def test_the_least_influential_candidate_is_replaced_but_not_the_best_or_protected_ones() -> None:
    evolution = Evolution(START, every=1, grace=0, budget=1e9)
    for number in range(40):
        (found,) = evolution.replacements(
            number, stats(stays=7), number=(number + 1) * 64, capacity=ROOM
        )
        assert found.slot == 6
        assert found.parent in (None, 0, 1, 2, 3)


def test_candidates_that_rehearse_rest_while_they_have_little_weight() -> None:
    evolution = Evolution(START, every=4, grace=2)
    weights = [0.9, 0.2, 0.2, 2.0, 0.9, 1.0, 0.1, 0.1]
    given = [s._replace(weight=w) for s, w in zip(stats(stays=7), weights, strict=True)]
    light = [s.slot for s in given if s.weight < 1.0 and s.member.settings.rehearsal]
    assert light == [1, 2, 4, 7]
    assert evolution.resting(7, given, number=800) == (1, 2, 4)  # 7 is the champion
    newcomer = given[2]._replace(member=given[2].member._replace(born=650))
    given[2], given[4] = newcomer, given[4]._replace(weight=1.5)
    assert evolution.resting(7, given, number=800) == (1,)
    assert Evolution(START, every=0, grace=2).resting(7, given, number=800) == ()


def test_a_child_with_its_parents_weights_has_its_layers_and_draws_are_keyed() -> None:
    first, again, other = (
        [
            Evolution(START, seed=seed, every=1, grace=0, budget=1e9).replacements(
                number, stats(), number=(number + 1) * 64, capacity=ROOM
            )
            for number in range(60)
        ]
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
    heirs = [found for (found,) in first if found.parent is not None]
    assert len(heirs) > 10
    for found in heirs:
        assert found.parent is not None
        parent = START[found.parent]
        assert (found.settings.hidden, found.settings.activations) == (
            parent.hidden,
            parent.activations,
        )
    assert all(found.settings.memory <= 1000 for (found,) in first)


@pytest.mark.parametrize("balanced", [False, True])
def test_weights_of_classes_are_tried_where_rare_classes_count(balanced: bool) -> None:
    evolution = Evolution(START, every=1, grace=0, budget=1e9, balanced=balanced)
    tried = {
        found.settings.class_weight
        for number in range(100)
        for found in evolution.replacements(
            number, stats(), number=(number + 1) * 64, capacity=ROOM
        )
    }
    assert tried == ({0.0, 0.5, 1.0} if balanced else {0.0})


@pytest.mark.parametrize("transform", ["none", "log"])
def test_logarithms_of_numbers_are_tried_if_a_candidate_learns_any(transform: Any) -> None:
    start = [replace(START[0], target_transform=transform), *START[1:]]
    evolution = Evolution(start, every=1, grace=0, budget=1e9)
    tried = {
        (found.parent is None and found.settings not in start, found.settings.target_transform)
        for number in range(100)
        for found in evolution.replacements(
            number, stats(), number=(number + 1) * 64, capacity=ROOM
        )
    }
    # Without the weights of a parent, which learned something else.
    logs = {fresh for fresh, other in tried if other == "log" and fresh}
    assert logs == ({True} if transform == "log" else set())


def test_newcomers_keep_within_the_budget() -> None:
    total = sum(estimate_cost(settings, ROOM) for settings in START)
    evolution = Evolution(START, every=1, grace=0)
    without = total - estimate_cost(START[7], ROOM)
    for number in range(60):
        for found in evolution.replacements(
            number, stats(), number=(number + 1) * 64, capacity=ROOM
        ):
            assert without + estimate_cost(found.settings, ROOM) <= total + 1e-9
    assert asked(Evolution(START, every=1, grace=0, budget=without), 20) == []


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"every": -1}, "every is -1"),
        ({"grace": -1}, "grace is -1"),
        ({"budget": 0}, "budget is 0"),
    ],
)
def test_settings_obey_their_rules(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Evolution(START, **setting)
