"""Shares of labels combined: against plain Python, sums, growth, and how good they are."""

from __future__ import annotations

import pickle
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamnet.samples import Task
from streamnet.selection.ensemble.labels import LabelEnsemble, share_pool
from tests.learning.streams import differences
from tests.selection.ensemble.answers import Said, said, serve
from tests.selection.ensemble.naive import NaiveLabels

N = 300


def expected(
    naive: NaiveLabels, said: Said, weight: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """What the plain version serves, shape=(n, C)."""
    found = np.zeros(said.answers.shape[1:])
    for i in range(len(said)):
        shares = naive.serve(
            said.answers[:, i].astype(float).tolist(),
            said.alive[:, i].tolist(),
            int(said.truth[i]),
            int(said.known[i]),
            1.0 if weight is None else float(weight[i]),
        )
        found[i, : len(shares)] = shares
    return found


@pytest.mark.parametrize(("dtype", "slack"), [("float64", 1e-12), ("float32", 1e-6)])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("fading", [0.999, 0.95, 1.0])
def test_every_answer_is_that_of_the_plain_version(
    dtype: str, slack: float, seed: int, fading: float
) -> None:
    # Logarithms of float32 shares are reckoned as float32.
    stream = said(Task.CLASSIFICATION, N, 1 + seed, seed=seed, dtype=dtype)
    ensemble = LabelEnsemble(1 + seed, fading=fading)
    naive = NaiveLabels(1 + seed, fading=fading)
    assert np.abs(serve(ensemble, stream) - expected(naive, stream)).max() < slack
    weights = np.array([mixer.weights for mixer in naive.mixers])
    assert ensemble.weights == pytest.approx(weights, rel=1e3 * slack, abs=1e3 * slack)


@pytest.mark.parametrize("seed", range(3))
def test_weighted_samples_are_learned_like_in_the_plain_version(seed: int) -> None:
    stream = said(Task.CLASSIFICATION, N, 3, seed=seed, dtype="float64")
    weight = np.random.default_rng(seed).choice([0.25, 1.0, 2.0, 50.0], N)
    ensemble, naive = LabelEnsemble(3), NaiveLabels(3, fading=0.999)
    samples = stream.answers, stream.alive, stream.truth, stream.known
    served = ensemble.serve(*samples, weight)
    assert np.abs(served - expected(naive, stream, weight)).max() < 1e-11
    weights = np.array([mixer.weights for mixer in naive.mixers])
    assert ensemble.weights == pytest.approx(weights, rel=1e-8, abs=1e-8)
    same = LabelEnsemble(3)
    assert same.serve(*samples, np.ones(N)).tobytes() == serve(LabelEnsemble(3), stream).tobytes()


def test_copies_and_ensembles_of_other_sizes_that_share_a_threads_memory_go_on_alone() -> None:
    stream = said(Task.CLASSIFICATION, N, 3, seed=0, dtype="float64")
    other = said(Task.CLASSIFICATION, N, 5, seed=1, dtype="float64")
    ensemble, larger = LabelEnsemble(3), LabelEnsemble(5)
    whole, apart = serve(LabelEnsemble(3), stream), serve(LabelEnsemble(5), other)
    found, found_too = [], []
    for start in range(0, N, 50):
        found.append(serve(ensemble, stream.part(start, start + 50)))
        found_too.append(serve(larger, other.part(start, start + 50)))
        ensemble, larger = deepcopy(ensemble), pickle.loads(pickle.dumps(larger))
    assert np.array_equal(np.concatenate(found), whole)
    assert np.array_equal(np.concatenate(found_too), apart)


def test_counts_of_labels_that_came_long_ago_end_at_zero_and_not_at_subnormal_numbers() -> None:
    # Processors work on those many times as long, and they would never get smaller.
    stream = said(Task.CLASSIFICATION, N, 3, seed=0, dtype="float64")
    ensemble = LabelEnsemble(3)
    serve(ensemble, stream)
    least = np.finfo(float).tiny
    ensemble.frequencies[1:] = ensemble.transitions[0, 1:] = least
    serve(ensemble, replace(stream, truth=np.zeros_like(stream.truth)))
    assert ensemble.frequencies[1:].tolist() == ensemble.transitions[0, 1:].tolist()
    assert not ensemble.frequencies[1:].any()
    assert np.array([least]) / 2 > 0  # which goes for the kernel alone


@pytest.mark.parametrize("seed", range(3))
def test_a_balanced_ensemble_decides_as_if_labels_were_equally_frequent(seed: int) -> None:
    stream = said(Task.CLASSIFICATION, N, 3, seed=seed, dtype="float64")
    plain, balanced = LabelEnsemble(3), LabelEnsemble(3, balanced=True)
    share_pool(balanced, LabelEnsemble(3, balanced=True))
    before = serve(plain, stream)
    after = balanced.serve_pair(stream.answers, stream.alive, stream.truth, stream.known)
    assert after.answers[0].tobytes() == before.tobytes(), "probabilities are what they were"
    moved = 0
    for i, decided in enumerate(after.classes[0].tolist()):
        known, earlier = int(stream.known[i]), stream.truth[:i].tolist()
        odds = [before[i, c] / (1 + earlier.count(c)) for c in range(known)]
        assert decided == (odds.index(max(odds)) if known else -1)
        moved += known > 0 and decided != int(before[i, :known].argmax())
    assert moved
    # What is learned is the same, and it goes on from its state, also without targets.
    learned = balanced.export_state()
    assert (
        differences({name: learned[name] for name in plain.export_state()}, plain.export_state())
        == []
    )
    restored = LabelEnsemble.restore_state(learned)
    about = stream.answers, stream.alive, int(stream.known[-1])
    asked = balanced.answer(*about)
    assert np.array_equal(restored.answer(*about), asked)
    assert np.array_equal(restored.decide(asked), balanced.decide(asked))
    counts = np.bincount(stream.truth[stream.truth >= 0], minlength=asked.shape[1])
    assert balanced.decide(asked).tolist() == (asked / (counts + 1)).argmax(axis=1).tolist()
    assert plain.decide(asked).tolist() == asked.argmax(axis=1).tolist()
    assert differences(restored.export_state(), learned) == []


def test_predicting_more_labels_than_known_leaves_the_ensemble_unchanged() -> None:
    ensemble = LabelEnsemble(2)  # has not seen any label
    before = ensemble.export_state()
    ensemble.answer(np.full((2, 1, 5), 0.2), np.ones((2, 1), np.uint8), 5)
    assert differences(ensemble.export_state(), before) == []
    LabelEnsemble.restore_state(ensemble.export_state())


def test_predicting_more_labels_does_not_rebuild_the_ensemble(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Models of `streamnet train` are asked so each time; that took ten times as long."""
    ensemble = LabelEnsemble(2)
    monkeypatch.setattr(LabelEnsemble, "restore_state", None)
    answers = np.array([[[0.1, 0.2, 0.7]], [[0.3, 0.3, 0.4]]])
    found = ensemble.answer(answers, np.ones((2, 1), np.uint8), 3)
    assert found.argmax(axis=1).tolist() == [2]


def test_an_unbalanced_ensemble_can_become_balanced() -> None:
    """As states of before there was balance do; the first answers count what was not faded yet."""
    stream = said(Task.CLASSIFICATION, N, 3, seed=4, dtype="float64")
    plain, balanced = (LabelEnsemble(3, balanced=kind, fading=1.0) for kind in (False, True))
    for ensemble in (plain, balanced):
        serve(ensemble, stream)
    plain.balance()
    about = stream.answers, stream.alive, int(stream.known[-1])
    asked = plain.answer(*about)
    assert np.array_equal(asked, balanced.answer(*about))
    assert np.array_equal(plain.decide(asked), balanced.decide(asked))
    assert differences(plain.export_state(), balanced.export_state()) == []


def test_a_candidate_that_is_no_member_has_no_influence() -> None:
    stream = said(Task.CLASSIFICATION, N, 3, seed=5, dtype="float64")
    members = [1, 0, 1, 0, 1]
    ensemble = LabelEnsemble(3, members=np.array(members, np.uint8))
    naive = NaiveLabels(3, fading=0.999, members=members)
    served = serve(ensemble, stream)
    assert np.abs(served - expected(naive, stream)).max() < 1e-12
    others = stream.answers.copy()
    others[1] = 0.25
    twin = LabelEnsemble(3, members=np.array(members, np.uint8))
    assert serve(twin, replace(stream, answers=others)).tobytes() == served.tobytes()
    assert not ensemble.weights[:, [1, 3]].any()


def test_a_candidate_that_is_no_member_has_no_influence_whatever_its_weight_in_a_file() -> None:
    stream = said(Task.CLASSIFICATION, N, 3, seed=5)
    ensemble = LabelEnsemble(3, members=np.array([1, 0, 1, 0, 1], np.uint8))
    serve(ensemble, stream.part(0, 200))
    state = ensemble.export_state()
    state["weights"][:, [1, 3]] = 3.0
    restored = LabelEnsemble.restore_state(state)
    rest = stream.part(200, N)
    about = rest.answers, rest.alive, int(stream.known[-1])
    assert restored.answer(*about).tobytes() == ensemble.answer(*about).tobytes()
    assert serve(restored, rest).tobytes() == serve(ensemble, rest).tobytes()
    assert restored.influence().tolist() == ensemble.influence().tolist()


@pytest.mark.parametrize("balanced", [False, True])
def test_a_pair_serves_and_learns_what_each_would_alone(balanced: bool) -> None:
    candidates = 3
    stream = said(Task.CLASSIFICATION, N, candidates, seed=8)
    members = [None, np.array([1, 0, 1, 0, 1], np.uint8)]

    def pair() -> list[LabelEnsemble]:
        return [LabelEnsemble(candidates, balanced=balanced, members=who) for who in members]

    alone, together = pair(), pair()
    for ensemble in (*alone, *together):  # as each may have before it was kept
        serve(ensemble, stream.part(0, 100))
    share_pool(*together)
    for start in range(100, N, 40):
        part = stream.part(start, start + 40)
        about = part.answers, part.alive, part.truth, part.known
        both = together[0].serve_pair(*about).answers
        for ensemble, one, other in zip(alone, both, together, strict=True):
            assert one.tobytes() == serve(ensemble, part).tobytes()
            known = int(part.known[0])
            asked = ensemble.answer(part.answers, part.alive, known)
            assert other.answer(part.answers, part.alive, known).tobytes() == asked.tobytes()
        if start == 140:  # what happens to one of them is nothing to the other one
            for first, second in (alone, together):
                first.reset(1)
                second.reset(0, member=False)
                second.discount_losses()
        if start == 180:
            together = deepcopy(together)
        if start == 220:
            together = pickle.loads(pickle.dumps(together))
        for ensemble, other in zip(alone, together, strict=True):
            assert differences(other.export_state(), ensemble.export_state()) == []


SHARE = st.floats(0.0, 1.0, width=32)


@settings(max_examples=60)
@given(
    st.integers(2, 40).flatmap(
        lambda classes: st.lists(
            st.tuples(
                st.lists(SHARE, min_size=2 * classes, max_size=2 * classes),
                st.integers(-1, classes - 1),
                st.booleans(),
            ),
            min_size=1,
            max_size=20,
        )
    )
)
def test_shares_of_known_labels_sum_to_one_whatever_candidates_say(
    samples: list[tuple[list[float], int, bool]],
) -> None:
    classes = len(samples[0][0]) // 2
    answers = np.array([row for row, _, _ in samples], np.float32)
    answers = np.ascontiguousarray(answers.reshape(-1, 2, classes).swapaxes(0, 1))
    alive = np.ones((2, len(samples)), np.uint8)
    alive[0] = [lives for _, _, lives in samples]
    truth = np.array([label for _, label, _ in samples], np.int32)
    known = np.full(len(samples), classes, np.int32)
    served = LabelEnsemble(2).serve(answers, alive, truth, known)
    assert np.isfinite(served).all()
    assert (served >= 0.0).all()
    assert served.sum(axis=1) == pytest.approx(1.0, abs=1e-12)


def test_shares_of_many_labels_sum_to_one() -> None:
    # Of many labels most shares lie below the floor, which must not add up to more than one.
    n, classes = 400, 900
    answers = np.zeros((1, n, classes), np.float32)
    truth = (np.arange(n) * 7 % classes).astype(np.int32)
    answers[0, np.arange(n), truth] = 1.0
    known = np.full(n, classes, np.int32)
    served = LabelEnsemble(1).serve(answers, np.ones((1, n), np.uint8), truth, known)
    assert served.sum(axis=1) == pytest.approx(1.0, abs=1e-12)
    assert (served[5:].argmax(axis=1) == truth[5:]).all()


@pytest.mark.parametrize("at", [0, 20, 77])
def test_capacity_for_labels_may_grow_late(at: int) -> None:
    stream = said(Task.CLASSIFICATION, N, 2, seed=3)
    wide = replace(stream, answers=np.pad(stream.answers, ((0, 0), (0, 0), (0, 60))))
    early, late = LabelEnsemble(2), LabelEnsemble(2)
    served = serve(early, wide)
    first = stream.part(0, at)
    width = max(int(first.truth.max(initial=0)) + 1, int(first.known.max(initial=0)), 2)
    narrow = replace(first, answers=first.answers[:, :, :width])
    parts = [serve(late, narrow), serve(late, stream.part(at, 150)), serve(late, wide.part(150, N))]
    classes = stream.answers.shape[2]
    found = np.concatenate(
        [np.pad(part, ((0, 0), (0, classes)))[:, :classes] for part in parts], axis=0
    )
    assert found.tobytes() == np.ascontiguousarray(served[:, :classes]).tobytes()
    assert differences(late.export_state(), early.export_state()) == []


def test_before_any_label_is_known_nothing_is_served() -> None:
    ensemble = LabelEnsemble(1)
    truth, known = np.array([-1, 0, 0], np.int32), np.array([0, 0, 1], np.int32)
    answers = np.full((1, 3, 2), 0.5, np.float32)
    served = ensemble.serve(answers, np.ones((1, 3), np.uint8), truth, known)
    assert served == pytest.approx(np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]]), abs=1e-15)


def test_if_labels_follow_each_other_the_last_one_predicts_the_next() -> None:
    n = 500
    truth = (np.arange(n) % 3).astype(np.int32)
    known = np.full(n, 3, np.int32)
    nonsense = np.random.default_rng(0).dirichlet(np.ones(3), (1, n))
    alive = np.ones((1, n), np.uint8)
    served = LabelEnsemble(1).serve(nonsense, alive, truth, known)
    assert (served[100:].argmax(axis=1) == truth[100:]).all()
    portable = LabelEnsemble(1, members=np.array([1, 0, 1], np.uint8))
    right = portable.serve(nonsense, alive, truth, known).argmax(axis=1) == truth
    assert right.mean() < 0.5, "who hears no last label can't know"
    assert portable.export_state()["transitions"].size == 0


# ------------------------------------------------------------------ how good it is

OFTEN = np.array([0.4, 0.3, 0.2, 0.1])  # how often each label comes


def evident(
    rng: np.random.Generator,
    truth: NDArray[np.int32],
    worth: float | NDArray[np.float64],
    *,
    sure: float = 1.0,
) -> NDArray[np.float64]:
    """Shares by evidence of some worth, noise of its own, and more or less sure than is right."""
    worth = np.broadcast_to(worth, truth.shape)[:, None]
    evidence = rng.normal(size=(len(truth), 4)) + worth * (np.arange(4) == truth[:, None])
    scores = sure * (worth * evidence + np.log(OFTEN))
    shares: NDArray[np.float64] = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    return shares


def candidates_of(kind: str, truth: NDArray[np.int32]) -> NDArray[np.float64]:
    rng = np.random.default_rng(6)
    turn = np.arange(len(truth)) // 4000 % 2
    return np.stack(
        {
            "one is good": lambda: [evident(rng, truth, w) for w in (0.1, 2.5, 0.5, 0.0, 1.0)],
            "they take turns": lambda: [
                evident(rng, truth, np.where(turn == k, 3.0, 0.5)) for k in range(2)
            ],
            "all are alike": lambda: [evident(rng, truth, 1.5) for _ in range(4)],
            "all know nothing": lambda: [evident(rng, truth, 0.0) for _ in range(3)],
            "all talk nonsense": lambda: [
                rng.dirichlet(np.full(4, 0.1), len(truth)) for _ in range(3)
            ],
            "the worse is too sure": lambda: [
                evident(rng, truth, 1.0, sure=5.0),
                evident(rng, truth, 2.0),
            ],
            "all are too sure": lambda: [evident(rng, truth, w, sure=5.0) for w in (1.0, 2.0)],
            "all doubt too much": lambda: [evident(rng, truth, w, sure=0.2) for w in (1.0, 2.0)],
        }[kind]()
    )


@pytest.mark.parametrize(
    ("kind", "gain"),
    [
        ("one is good", 0.01),
        ("they take turns", 0.18),
        ("all are alike", 0.2),
        ("all know nothing", -0.003),
        ("all talk nonsense", 0.1),
        ("the worse is too sure", 0.02),
        ("all are too sure", 0.02),
        ("all doubt too much", 0.02),
    ],
)
def test_it_is_better_than_the_best_candidate_in_hindsight_or_hardly_worse(
    kind: str, gain: float
) -> None:
    n = 20_000
    truth = np.random.default_rng(5).choice(4, n, p=OFTEN).astype(np.int32)
    answers = candidates_of(kind, truth)
    alive, known = np.ones(answers.shape[:2], np.uint8), np.full(n, 4, np.int32)
    served = LabelEnsemble(len(answers)).serve(answers, alive, truth, known)

    def loss(shares: NDArray[np.float64]) -> float:
        return float(-np.log(np.maximum(shares[np.arange(n), truth], 1e-4)).mean())

    alone = (answers.argmax(axis=2) == truth).mean(axis=1)
    assert (served.argmax(axis=1) == truth).mean() > alone.max() + gain
    assert loss(served) < min(loss(shares) for shares in answers) + 0.003


def test_what_it_makes_small_is_the_log_loss_even_if_fewer_labels_are_right() -> None:
    # Shares whose sizes mean nothing but the largest: weighing them up costs right answers.
    n = 20_000
    rng = np.random.default_rng(6)
    truth = rng.choice(4, n, p=OFTEN).astype(np.int32)
    named = np.where(rng.random(n) < 0.8, truth, rng.integers(0, 4, n))
    shares = rng.dirichlet(np.ones(4), n) * 0.4
    shares[np.arange(n), named] += 0.6
    alive, known = np.ones((1, n), np.uint8), np.full(n, 4, np.int32)
    served = LabelEnsemble(1).serve(shares[None], alive, truth, known)
    right = np.arange(n), truth
    assert np.log(served[right]).mean() > np.log(np.maximum(shares[right], 1e-4)).mean() + 0.03
    assert (served.argmax(axis=1) == truth).mean() > (shares.argmax(axis=1) == truth).mean() - 0.02
