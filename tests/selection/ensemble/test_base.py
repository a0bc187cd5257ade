"""What holds for both ensembles: cuts, restarts, the dead, newcomers, being asked, damage."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamnet.errors import ConfigurationError, ModelFileError
from streamnet.samples import Task
from streamnet.selection.ensemble.base import COUNT, PRIORS, TOTAL
from streamnet.selection.ensemble.labels import LabelEnsemble
from streamnet.selection.ensemble.numbers import NumberEnsemble
from streamnet.selection.ensemble.registry import Ensemble, restore_ensemble, select_members
from tests.learning.streams import differences
from tests.selection.ensemble.answers import Said, ask, ensemble_of, said, serve

N = 200
TASKS = pytest.mark.parametrize("task", list(Task))


def same(task: Task, ensemble: Ensemble) -> Ensemble:
    """Another of the same state."""
    return restore_ensemble(task, ensemble.export_state())


def garbled(stream: Said, places: Any, value: float) -> Said:
    """The same stream, where candidates say something else at some of their samples."""
    answers = stream.answers.copy()
    answers[places] = value
    return replace(stream, answers=answers)


# ------------------------------------------------------------------- cuts, restarts


@TASKS
@settings(max_examples=30)
@given(st.integers(0, 50), st.lists(st.integers(0, N), max_size=6))
def test_the_cuts_of_a_stream_change_no_bit(task: Task, seed: int, cuts: list[int]) -> None:
    stream = said(task, N, 3, seed=seed)
    whole, pieces = ensemble_of(task, 3), ensemble_of(task, 3)
    expected = serve(whole, stream)
    edges = [0, *sorted(cuts), N]
    found = [serve(pieces, stream.part(*edge)) for edge in pairwise(edges)]
    assert np.concatenate(found).tobytes() == expected.tobytes()
    assert differences(pieces.export_state(), whole.export_state()) == []


@TASKS
@settings(max_examples=30)
@given(st.integers(0, 50), st.integers(0, N))
def test_a_restored_ensemble_continues_to_the_bit(task: Task, seed: int, at: int) -> None:
    stream = said(task, N, 2, seed=seed)
    members = np.array([1, 1, seed % 2, 1], np.uint8)
    whole = ensemble_of(task, 2, fading=0.98, members=members)
    serve(whole, stream.part(0, at))
    state = whole.export_state()
    before = {name: np.copy(value) for name, value in state.items()}
    other = restore_ensemble(task, state)
    expected = serve(whole, stream.part(at, N))
    assert all(np.array_equal(state[name], before[name]) for name in before), "a state is a copy"
    assert serve(other, stream.part(at, N)).tobytes() == expected.tobytes()
    assert differences(other.export_state(), whole.export_state()) == []


# --------------------------------------------------------------- the dead, the new


@TASKS
@pytest.mark.parametrize("value", [math.nan, math.inf, -1e30, 0.5])
def test_outputs_of_a_dead_candidate_change_no_bit(task: Task, value: float) -> None:
    stream = said(task, N, 3, seed=1)
    plain, other = ensemble_of(task, 3), ensemble_of(task, 3)
    served = serve(plain, stream)
    changed = serve(other, garbled(stream, stream.alive == 0, value))
    assert changed.tobytes() == served.tobytes()
    assert differences(other.export_state(), plain.export_state()) == []


@TASKS
def test_a_dead_candidate_is_left_out_and_costs_the_others_nothing(task: Task) -> None:
    stream = said(task, N, 3, seed=1, gaps=False)
    alive = stream.alive.copy()
    alive[1, 100:] = 0
    dying, alone = ensemble_of(task, 3), ensemble_of(task, 3)
    for ensemble in (dying, alone):
        serve(ensemble, stream.part(0, 100))
    weights = dying.weights[:, 1].copy()
    serve(dying, replace(stream, alive=alive).part(100, N))
    serve(alone, stream.part(100, N))
    others = [0, 2, 3, 4]
    assert np.array_equal(dying.losses[:, others], alone.losses[:, others])
    assert (dying.losses[TOTAL, 1] / dying.losses[COUNT, 1]) > 0.4 * (
        -math.log(1e-4) if stream.labels else 10.0
    ), "unavailable counts as entirely wrong"
    moved = weights != dying.weights[:, 1]
    # Hedge and inverse losses have no memory.
    assert moved.tolist() == ([False] * 4 if stream.labels else [False, False, False, True, True])


@TASKS
def test_a_newcomer_earns_its_weight_from_nothing(task: Task) -> None:
    stream = said(task, 3 * N, 3, seed=2, gaps=False)
    ensemble = ensemble_of(task, 3)
    serve(ensemble, stream.part(0, N))
    ensemble.reset(2)
    assert not ensemble.weights[:, 2].any()
    assert not ensemble.losses[:, 2].any()
    assert not ensemble.squares[:, 2].any()
    assert ensemble.influence()[2] == 0.0
    first = stream.part(N, N + 1)
    value = 0.9 if stream.labels else 1e6
    twins = [same(task, ensemble) for _ in range(2)]
    served = [serve(twins[0], first), serve(twins[1], garbled(first, 2, value))]
    assert np.array_equal(served[0], served[1]), "a newcomer has no weight before its first loss"
    serve(ensemble, stream.part(N, 3 * N))
    # It is the best, and no newcomer any more.
    assert ensemble.influence()[2] > 0.5 * ensemble.influence()[:2].max()


@TASKS
def test_a_newcomer_that_is_no_member_never_has_influence(task: Task) -> None:
    stream = said(task, 2 * N, 2, seed=2, gaps=False)
    ensemble = ensemble_of(task, 2)
    serve(ensemble, stream.part(0, N))
    ensemble.reset(1, member=False)
    twin = same(task, ensemble)
    served = serve(ensemble, stream.part(N, 2 * N))
    changed = serve(twin, garbled(stream, 1, 0.25).part(N, 2 * N))
    assert changed.tobytes() == served.tobytes()
    assert ensemble.influence()[1] == 0.0
    assert ensemble.members.tolist() == [1, 0, 1, 1]


@TASKS
def test_an_ensemble_that_adopts_another_continues_like_it(task: Task) -> None:
    """But for what only the other one hears, or only this one."""
    stream, rest = said(task, N, 3, seed=3), said(task, N, 3, seed=4)
    kind = type(ensemble_of(task, 3))
    # Without what knows the last target, which is that of another stream.
    learned, other = (kind(3, members=select_members([False] * 3)) for _ in range(2))
    serve(learned, stream)
    other.adopt(learned)
    assert differences(same(task, other).export_state(), other.export_state()) == []
    np.testing.assert_array_equal(other.influence(), learned.influence())
    np.testing.assert_array_equal(serve(other, rest), serve(same(task, learned), rest))
    third = ensemble_of(task, 3)
    third.adopt(learned)
    assert not third.weights[:, 3].any()
    assert third.members[3] == 1
    np.testing.assert_array_equal(third.weights[:, :3], learned.weights[:, :3])


@TASKS
def test_influence_is_what_moves_the_final_mixer(task: Task) -> None:
    ensemble = ensemble_of(task, 2)
    ensemble.weights[:] = [[1.0, -2.0, 9.0, 9.0]]
    ensemble.final[:-1] = 0.0
    ensemble.final[:4] = [0.1, 0.2, -0.3, 0.4]
    ensemble.final[-1] = 0.7
    assert ensemble.influence() == pytest.approx([1.0, 2.0])
    ensemble.losses[:, :2] = [[3.0, 1.0], [1.0, 1.0]]
    shares = 1.0 / (1.0 + math.exp(2.0)), 1.0 / (1.0 + math.exp(-2.0))
    assert ensemble.influence() == pytest.approx([1.0 + 0.7 * shares[0], 2.0 + 0.7 * shares[1]])


@TASKS
@pytest.mark.parametrize("n", [0, 1, 150])
def test_a_restricted_ensemble_predicts_as_all_do_where_the_others_are_unavailable(
    task: Task, n: int
) -> None:
    stream = said(task, N, 4, seed=3)
    ensemble = ensemble_of(task, 4)
    serve(ensemble, stream.part(0, n))
    alive = stream.alive.copy()
    alive[[0, 2]] = 0
    silent = replace(stream, alive=alive)
    few = replace(stream, answers=stream.answers[[3, 1]], alive=stream.alive[[3, 1]])
    some = restore_ensemble(task, ensemble.restricted([3, 1]))
    assert (some.candidates, some.experts) == (2, 2 + PRIORS)
    for i in range(n, N):
        expected = ask(ensemble, silent, i)
        assert ask(some, few, i) == pytest.approx(expected, rel=1e-12, abs=1e-15)


# -------------------------------------------------------------------- being asked


@TASKS
def test_predicting_changes_nothing_and_equals_what_is_served_next(task: Task) -> None:
    stream = said(task, N, 3, seed=4)
    ensemble, left_alone = ensemble_of(task, 3), ensemble_of(task, 3)
    for i in range(N):
        before = ensemble.export_state()
        answer = ask(ensemble, stream, i)
        ask(ensemble, stream, i, stream.part(0, N))
        if i:
            assert differences(ensemble.export_state(), before) == []
        served = serve(ensemble, stream.part(i, i + 1))
        assert served.tobytes() == answer.tobytes()
    serve(left_alone, stream)
    assert differences(ensemble.export_state(), left_alone.export_state()) == []


@TASKS
def test_many_samples_are_predicted_like_each_alone(task: Task) -> None:
    stream = said(task, N, 3, seed=5)
    ensemble = ensemble_of(task, 3)
    serve(ensemble, stream.part(0, 150))
    together = ask(ensemble, stream, 150, stream)
    for i in range(N):
        alone = ask(ensemble, stream, 150, stream.part(i, i + 1))
        assert alone[0].tobytes() == together[i].tobytes()


@TASKS
def test_new_labels_do_not_affect_predictions_without_learning(task: Task) -> None:
    stream = said(task, N, 2, seed=5)
    ensemble = ensemble_of(task, 2)
    serve(ensemble, stream.part(0, 3))
    before = ensemble.export_state()
    answers = ask(ensemble, stream, N - 1, stream)
    assert np.isfinite(answers[stream.alive.all(axis=0)]).all()
    assert differences(ensemble.export_state(), before) == []


@TASKS
def test_several_threads_may_predict_at_once(task: Task) -> None:
    # Who is silent differs, so that each answer has other weights.
    stream = said(task, 3000, 4, seed=6)
    ensemble = ensemble_of(task, 4)
    serve(ensemble, stream.part(0, 1000))
    silent = [np.roll(stream.alive[:, 1000:], shift, axis=0) for shift in range(4)]
    answers = np.where(np.isfinite(stream.answers), stream.answers, 0.5)[:, 1000:]
    asked = [replace(stream.part(1000, 3000), answers=answers, alive=alive) for alive in silent]
    expected = [ask(ensemble, stream, 1000, samples).tobytes() for samples in asked]
    assert len(set(expected)) == 4
    with ThreadPoolExecutor(4) as pool:
        found = list(
            pool.map(lambda turn: ask(ensemble, stream, 1000, asked[turn % 4]), range(200))
        )
    assert all(answer.tobytes() == expected[turn % 4] for turn, answer in enumerate(found))


# --------------------------------------------------------------- settings, damage


@TASKS
@pytest.mark.parametrize("value", [1.5, -0.1, math.nan])
def test_a_fading_out_of_its_range_is_refused(task: Task, value: float) -> None:
    with pytest.raises(ConfigurationError, match=f"fading is {value}, but must be from 0 to 1"):
        ensemble_of(task, 2, fading=value)


def filled(value: float) -> Callable[[Any], Any]:
    def change(array: Any) -> Any:
        changed = array.copy()
        changed.flat[0] = value
        return changed

    return change


DAMAGE: list[tuple[str, Callable[[Any], Any]]] = [
    ("fading", lambda _: 2.0),
    ("fading", lambda _: None),
    ("members", filled(2)),
    ("members", lambda members: members.astype(float)),
    ("members", lambda members: members[:2]),
    ("members", lambda members: members[None]),
    ("members", lambda members: members[:0]),
    ("members", lambda _: [1, 1, 1, None]),
    ("weights", filled(math.nan)),
    ("weights", lambda weights: weights[:, :-1]),
    ("weights", lambda weights: weights.astype("float32")),
    ("squares", filled(-1.0)),
    ("final", filled(math.inf)),
    ("final", lambda final: final[:-1]),
    ("final_squares", filled(-1.0)),
    ("losses", filled(-1.0)),
    ("losses", lambda losses: losses.T),
    ("combined", filled(math.nan)),
    ("combined", filled(-1.0)),
    ("combined", lambda combined: combined[:, :-1]),
    ("last", lambda last: last[:0]),
]
LABEL_DAMAGE: list[tuple[str, Callable[[Any], Any]]] = [
    ("last", filled(-1)),
    ("last", filled(999)),
    ("frequencies", filled(-1.0)),
    ("frequencies", lambda frequencies: frequencies[:1]),
    ("frequencies", lambda frequencies: frequencies[:-1]),
    ("frequencies", lambda _: np.zeros((1 << 16) + 1)),
    ("transitions", lambda transitions: transitions[:0]),
    ("transitions", filled(math.nan)),
]
NUMBER_DAMAGE: list[tuple[str, Callable[[Any], Any]]] = [
    ("last", filled(math.inf)),
    ("last", lambda last: last + 0.5),
    ("unit", filled(-1.0)),
    ("unit", lambda unit: unit[:0]),
]


def damaged(task: Task, name: str, change: Callable[[Any], Any]) -> dict[str, Any]:
    ensemble = ensemble_of(task, 2)
    serve(ensemble, said(task, N, 2, seed=7))
    state = ensemble.export_state()
    return state | {name: change(state[name])}


CASES = [
    (task, name, change)
    for task, more in ((Task.CLASSIFICATION, LABEL_DAMAGE), (Task.REGRESSION, NUMBER_DAMAGE))
    for name, change in DAMAGE + more
]


@pytest.mark.parametrize(
    ("task", "name", "change"), CASES, ids=[f"{task}-{name}" for task, name, _ in CASES]
)
def test_a_damaged_state_is_refused(task: Task, name: str, change: Callable[[Any], Any]) -> None:
    restore_ensemble(task, damaged(task, name, lambda value: value))
    with pytest.raises(ModelFileError, match="ensemble: "):
        restore_ensemble(task, damaged(task, name, change))


@TASKS
def test_a_state_that_lacks_a_part_is_refused(task: Task) -> None:
    state = ensemble_of(task, 2).export_state()
    for name in state:
        with pytest.raises(ModelFileError, match="ensemble: the state is damaged"):
            restore_ensemble(task, {key: value for key, value in state.items() if key != name})


def test_a_state_of_the_other_task_is_refused() -> None:
    with pytest.raises(ModelFileError):
        LabelEnsemble.restore_state(NumberEnsemble(2).export_state())
    with pytest.raises(ModelFileError):
        NumberEnsemble.restore_state(LabelEnsemble(2).export_state())


# ----------------------------------------------------------- who answers without lags


@pytest.mark.parametrize(
    ("lagged", "heard"),
    [([False, True, False], [1, 0, 1, 0, 1]), ([False], [1, 0, 1]), ([True, True], [1, 1, 0, 1])],
)
def test_candidates_with_lags_are_excluded_without_targets_unless_all_have_lags(
    lagged: list[bool], heard: list[int]
) -> None:
    assert select_members(lagged).tolist() == heard
