"""Learners with models of other libraries as candidates."""

from __future__ import annotations

import copy
import logging
import pickle
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from river import compose, datasets, evaluate, linear_model, metrics, preprocessing, tree
from sklearn.linear_model import SGDClassifier, SGDRegressor

from streamnet.errors import ConfigurationError, StateError
from streamnet.guests import Guest
from streamnet.guests.samples import read_samples
from streamnet.learning.guests import GuestCandidates
from streamnet.learning.learner import Learner
from streamnet.samples import Block, ClassChange, Task
from streamnet.sources.columns import Columns
from streamnet.sources.roles import weigh
from streamnet.sources.rows import RowReader
from tests.guests.simple_models import Failing, Frequencies, Means, guest_for
from tests.learning.streams import ROUND, candidate, differences, feed, learner_of, state_of, stream
from tests.learning.test_joined_labels import late

LABELS, NUMBERS = Task.CLASSIFICATION, Task.REGRESSION
TASKS = list(Task)
FEW = (candidate(optimizer="sgd", learning_rate=0.05), candidate(optimizer="adam"))


def learner(task: Task, guests: Mapping[str, Any] | None = None, **others: Any) -> Learner:
    """A learner with the guest of the task, or others."""
    return learner_of(task, FEW, guests=guests or {"own": guest_for(task)}, **others)


def guests_of(one: Learner) -> GuestCandidates:
    one.score_deferred()
    assert one.guests is not None
    return one.guests


@pytest.mark.parametrize("delay", [0, 20])
@pytest.mark.parametrize("task", TASKS)
@given(data=st.data())
@settings(deadline=None, max_examples=3)
def test_the_result_does_not_depend_on_how_blocks_are_cut(
    task: Task, delay: int, data: st.DataObject
) -> None:
    sizes = data.draw(st.lists(st.integers(1, 90), min_size=1, max_size=6))
    block = stream(task, 400)
    whole, cut = (learner(task, label_delay=delay, evolution={"every": 2}) for _ in range(2))
    list(feed(whole, block))
    list(feed(cut, block, sizes))
    assert differences(state_of(whole), state_of(cut)) == []


@pytest.mark.parametrize("task", TASKS)
def test_single_samples_give_the_same_bits(task: Task) -> None:
    block = stream(task, 300)
    whole, single = learner(task), learner(task)
    list(feed(whole, block))
    for one in range(300):
        single.learn_deferred(block.part(one, one + 1), ends_round=(one + 1) % ROUND == 0)
    single.score_deferred()
    expected, found = whole.export_state(), single.export_state()
    assert differences(expected["serving"], found["serving"]) == []
    asked = stream(task, 20, seed=8)
    assert_array_equal(whole.predict(asked), single.predict(asked))


@pytest.mark.parametrize("delay", [0, 20])
@pytest.mark.parametrize("task", TASKS)
def test_a_restored_learner_goes_on_with_the_same_bits(task: Task, delay: int) -> None:
    block = stream(task, 400)
    whole, begun, resumed = (learner(task, label_delay=delay) for _ in range(3))
    list(feed(whole, block))
    list(feed(begun, block.part(0, 3 * ROUND)))
    resumed.restore_state(begun.export_state())
    list(feed(resumed, block.part(3 * ROUND, 400), (7, 50)))
    assert differences(state_of(whole), state_of(resumed)) == []


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("delay", [1, 20])
def test_it_is_scored_as_by_a_loop_that_predicts_and_then_learns(
    delay: int, weighted: bool
) -> None:
    block = stream(LABELS, 400)
    if weighted:
        block = weigh(block, (np.arange(len(block)) % 3).astype(np.float64))
    one = learner(LABELS, label_delay=delay)
    list(feed(one, block, (17,)))
    one.learn_pending()
    model, hits, total = Frequencies(), 0.0, 0.0
    samples, waiting = read_samples(block), list[tuple[int, Any]]()
    assert block.target is not None
    weights = np.ones(len(block)) if block.weight is None else block.weight
    seen: set[str] = set()

    def learn_waiting(until: float) -> None:
        nonlocal hits, total
        while waiting and waiting[0][0] + delay <= until:
            i, (answer, known) = waiting.pop(0)
            truth, weight = block.target[i], float(weights[i])  # type: ignore[index]
            if known:
                hits += weight * (answer == truth)
                total += weight
            model.learn_one(samples[i], truth, weight)
            seen.add(truth)

    for i, x in enumerate(samples):
        learn_waiting(i)
        answer = model.predict_one(x)
        if block.target[i] is not None and weights[i] > 0.0:
            waiting.append((i, (answer, answer is not None)))
    learn_waiting(np.inf)
    assert guests_of(one).models["own"].counts == model.counts
    found = guests_of(one).scores.measures(0)["accuracy"]
    assert found == pytest.approx(hits / total, rel=1e-12)


@pytest.mark.parametrize("task", TASKS)
def test_labels_that_arrive_on_their_own_are_learned_when_they_do(task: Task) -> None:
    block = stream(task, 300, gaps=False)
    scheduled = learner(task, label_delay=30)
    list(feed(scheduled, block, (50,)))
    scheduled.learn_pending()
    arriving = learner(task, late_labels=True)
    list(feed(arriving, late(block, np.minimum(np.arange(300) + 30, 300)), (11,)))
    one, other = guests_of(scheduled), guests_of(arriving)
    assert one.models["own"].counts == other.models["own"].counts
    assert one.scores.measures(0) == other.scores.measures(0)


def read(pairs: Sequence[tuple[dict[str, Any], Any]], task: Task) -> Block:
    rows, targets = zip(*pairs, strict=True)
    return RowReader(Columns(target="y", task=task)).read(rows, targets)


@pytest.mark.parametrize("delay", [0, 25])
@pytest.mark.parametrize(
    ("task", "data", "model", "metric"),
    [
        (LABELS, datasets.Phishing, tree.HoeffdingTreeClassifier(grace_period=50), "Accuracy"),
        (
            LABELS,
            datasets.Phishing,
            compose.Pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression()),
            "Accuracy",
        ),
        (NUMBERS, datasets.TrumpApproval, tree.HoeffdingTreeRegressor(grace_period=30), "MAE"),
    ],
    ids=["tree", "regression", "numbers"],
)
def test_its_score_is_the_one_that_river_computes(
    task: Task, data: Any, model: Any, metric: str, delay: int
) -> None:
    pairs = [(dict(x), y) for x, y in islice(data(), 500)]
    alone = evaluate.progressive_val_score(
        iter(pairs), model.clone(), getattr(metrics, metric)(), delay=delay or None
    )
    encoder = {"classes": ["false", "true"]} if task is LABELS else None
    one = learner(task, {"river": model}, label_delay=delay, encoder=encoder)
    list(feed(one, read(pairs, task), (60,)))
    one.learn_pending()
    scores = guests_of(one).scores
    assert scores.measures(0)[metric.lower()] == pytest.approx(alone.get(), rel=1e-12)
    assert getattr(model, "_root", None) is None  # a copy has learned


@pytest.mark.parametrize("frame", [False, True])
def test_scikit_learn_is_given_the_rows_that_it_would_be_given_alone(frame: bool) -> None:
    block = stream(NUMBERS, 300, gaps=False)
    names = [field.name for field in block.schema.fields if field.name != "w"]
    block = RowReader(Columns(target="y")).read(
        [{n: row[n] for n in names} for row in read_samples(block)],
        block.target.tolist() if block.target is not None else [],
    )
    model = SGDRegressor(random_state=1, eta0=0.001)
    inputs: Any = "columns" if frame else "encoded"
    one = learner(NUMBERS, {"sgd": Guest(model, inputs=inputs)})
    served = list(feed(one, block, (37,)))
    alone, errors = copy.deepcopy(model), []
    dense = np.concatenate([s.predicted.encoded.inputs.dense for s in served])
    rows = block.numbers if frame else dense.astype(np.float64)
    assert block.target is not None
    for row, y in zip(rows, block.target.tolist(), strict=True):
        if hasattr(alone, "coef_"):
            errors.append(abs(alone.predict([row])[0] - y))
        alone.partial_fit([row], [y])
    found = guests_of(one)
    assert_array_equal(found.models["sgd"].coef_, alone.coef_)
    assert found.scores.measures(0)["mae"] == pytest.approx(np.mean(errors), rel=1e-9)


def test_a_classifier_of_scikit_learn_sees_hashed_categories_and_its_own_labels() -> None:
    block = stream(LABELS, 400, classes=2)
    model = SGDClassifier(loss="log_loss", random_state=1)
    guest = Guest(model, classes=["c1", "c0", "c2"], buckets=32, serializer=pickle)
    one, resumed = (learner(LABELS, {"sgd": guest}, label_delay=9) for _ in range(2))
    list(feed(one, block.part(0, 3 * ROUND)))
    resumed.restore_state(one.export_state())
    for each in (one, resumed):
        list(feed(each, block.part(3 * ROUND, 400), (31,)))
    found, other = guests_of(one), guests_of(resumed)
    assert found.models["sgd"].n_features_in_ > 32
    assert found.models["sgd"].classes_.tolist() == ["c0", "c1", "c2"]
    assert found.scores.measures(0)["accuracy"] > 0.7
    assert found.scores.measures(0) == other.scores.measures(0)
    assert_array_equal(found.models["sgd"].coef_, other.models["sgd"].coef_)


def _raise() -> None:
    raise RuntimeError("no more")


FAILURES: list[tuple[Callable[[], Any], bool, str]] = [
    (_raise, False, "RuntimeError('no more')"),
    (_raise, True, "RuntimeError('no more')"),
    (lambda: {"c0": np.nan}, False, "it predicts 'c0' with nan"),
    (lambda: {"c0": -0.5}, False, "it predicts 'c0' with -0.5"),
    (lambda: {"c0": "much"}, False, "it predicts 'c0' with 'much'"),
    (lambda: 7, False, """TypeError("'int' object is not iterable")"""),
]


@pytest.mark.parametrize("delay", [0, 20])
@pytest.mark.parametrize(("how", "learning", "reason"), FAILURES)
def test_what_errs_is_quarantined_and_the_others_do_not_notice(
    how: Callable[[], Any],
    learning: bool,
    reason: str,
    delay: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    block = stream(LABELS, 300, gaps=False)
    failing = Failing(100, how, {"c0": 1.0}, learning=learning)
    guests = {"bad": failing, "good": guest_for(LABELS)}
    one, cut = (learner(LABELS, guests, label_delay=delay) for _ in range(2))
    with caplog.at_level(logging.WARNING, "streamnet.guests"):
        list(feed(one, block, (1000,)))
    list(feed(cut, block, (7,)))
    assert differences(state_of(one), state_of(cut)) == []
    number = 100 + max(delay - 1, 0) * learning + (learning and delay > 0)
    failure = guests_of(one).failure(0)
    assert failure == (number, reason)
    assert f"guest 'bad' is quarantined at sample {number}: {reason}" in caplog.messages
    assert list(guests_of(one).models) == ["good"]
    without = learner(LABELS, {"good": guest_for(LABELS)}, label_delay=delay)
    list(feed(without, block, (90,)))
    assert guests_of(without).scores.measures(0) == guests_of(one).scores.measures(1)
    for slot in range(len(FEW)):
        alone = without.evaluator.candidates.measures(slot)
        assert one.evaluator.candidates.measures(slot) == alone
    assert np.isfinite(one.predict(stream(LABELS, 5, seed=9))).all()


def test_a_number_that_is_not_finite_ends_its_part() -> None:
    block = stream(NUMBERS, 200, gaps=False)
    one = learner(NUMBERS, {"bad": Failing(50, lambda: np.inf, 1.0)})
    list(feed(one, block))
    assert guests_of(one).failure(0) == (50, "it predicts inf")
    assert np.isfinite(list(one.serving.measures().values())).all()


@pytest.mark.parametrize("task", TASKS)
def test_it_predicts_with_the_ensemble_but_not_in_the_portable_model(task: Task) -> None:
    block = stream(task, 600, gaps=False)
    # Drift of what is served would discount the losses of the portable model, too.
    with_it = learner(task, drift="none")
    without = learner_of(task, FEW, drift="none")
    for one in (with_it, without):
        list(feed(one, block))
    asked = stream(task, 50, seed=9, gaps=False)
    alone = without.predict(asked, without_lags=True)
    assert_array_equal(with_it.predict(asked, without_lags=True), alone)
    assert not np.array_equal(with_it.predict(asked), without.predict(asked))
    assert with_it.serving.contenders.ensemble.influence()[-1] > 0.01
    assert_array_equal(
        with_it.model().predict(asked_rows := read_samples(asked)),
        (without.model().predict(asked_rows)),
    )
    assert with_it.model().about["without_guests"] == ["own"]
    assert "without_guests" not in without.model().about


@pytest.mark.parametrize("task", TASKS)
def test_a_frozen_copy_combines_the_others_whatever_a_guest_learns(task: Task) -> None:
    how = (lambda: 7) if task is LABELS else (lambda: np.inf)
    usually = {"c0": 1.0} if task is LABELS else 1.0
    block, asked = stream(task, 400, gaps=False), stream(task, 20, seed=9, gaps=False)
    quarantined = learner(task, {"bad": Failing(390, how, usually)})
    for one in (with_it := learner(task), quarantined):
        list(feed(one, block))
        frozen, before = one.freeze(), one.predict(asked)
        answers = frozen.outputs(asked).reshape(before.shape)
        assert np.isfinite(answers).all()
        assert np.array_equal(answers, before) == (one is quarantined)
        list(feed(one, block))
        assert_array_equal(frozen.outputs(asked).reshape(before.shape), answers)
    assert guests_of(quarantined).failure(0) is not None
    assert guests_of(with_it).failure(0) is None


class Knowing:
    """Predicts the target, which a column holds, or the opposite of it."""

    def __init__(self, sign: float) -> None:
        self.sign = sign

    def predict_one(self, x: dict[str, Any]) -> float:
        return self.sign * float(x["answer"])

    def learn_one(self, x: dict[str, Any], y: float) -> None:
        """It need not."""


@pytest.mark.parametrize(("sign", "low", "high"), [(1.0, 0.0, 0.5), (-1.0, 0.8, 1.02)])
def test_a_good_guest_improves_what_is_served_and_a_bad_one_does_not_make_it_worse(
    sign: float, low: float, high: float
) -> None:
    rng = np.random.default_rng(2)
    answers = rng.normal(size=2000).round(3)
    rows = [{"answer": a, "x": x} for a, x in zip(answers**2, rng.normal(size=2000), strict=True)]
    targets = (answers**2).tolist()
    block = RowReader(Columns(target="y", task=NUMBERS)).read(rows, targets)
    maes = []
    for guests in ({"knowing": Knowing(sign)}, None):
        one = learner_of(NUMBERS, FEW, guests=guests)
        list(feed(one, block))
        maes.append(one.serving.measures()["mae"])
    assert low <= maes[0] / maes[1] < high


@pytest.mark.parametrize("task", TASKS)
def test_without_a_serializer_it_starts_again_and_so_do_its_scores(
    task: Task, caplog: pytest.LogCaptureFixture
) -> None:
    block = stream(task, 400)
    model = Frequencies() if task is LABELS else Means()
    one, resumed, kept = (learner(task, {"own": model}, label_delay=15) for _ in range(3))
    list(feed(one, block.part(0, 2 * ROUND)))
    state = one.export_state()
    with caplog.at_level(logging.WARNING, "streamnet.guests"):
        resumed.restore_state(state)
    assert caplog.messages == ["guest 'own' starts again, since the state does not hold it"]
    assert guests_of(resumed).models["own"].counts == {}
    assert guests_of(resumed).losses()[0] == np.inf
    assert resumed.serving.contenders.ensemble.influence()[-1] == 0.0
    guests_of(kept).hand_over(copy.deepcopy(guests_of(one).export_models()))
    kept.restore_state(state)
    for each in (one, kept):
        list(feed(each, block.part(2 * ROUND, 400)))
    assert differences(state_of(one), state_of(kept)) == []
    assert guests_of(one).models["own"].counts == guests_of(kept).models["own"].counts


def test_a_state_is_only_of_its_own_guests() -> None:
    state = learner(LABELS).export_state()
    with pytest.raises(StateError, match="guests is not given, but was 'own': only what gives"):
        learner_of(LABELS, FEW).restore_state(state)
    with pytest.raises(StateError, match=r"guests is other \(Frequencies\), but was own"):
        learner(LABELS, {"other": Frequencies()}).restore_state(state)
    with pytest.raises(StateError, match="guests is 'own', but was not given"):
        learner(LABELS).restore_state(learner_of(LABELS, FEW).export_state())


def test_nothing_is_loaded_unless_the_same_guest_is_given_with_a_serializer() -> None:
    class Trap:
        calls = 0

        @classmethod
        def dumps(cls, model: Any) -> bytes:
            del model
            return b"code"

        @classmethod
        def loads(cls, data: bytes) -> Any:
            assert data == b"code"
            cls.calls += 1
            return Frequencies()

    state = learner(LABELS, {"own": Guest(Frequencies(), serializer=Trap)}).export_state()
    learner(LABELS, {"own": Frequencies()}).restore_state(state)
    for others in (None, {"other": Guest(Frequencies(), serializer=Trap)}):
        with pytest.raises(StateError):
            learner_of(LABELS, FEW, guests=others).restore_state(state)
    assert Trap.calls == 0
    learner(LABELS, {"own": Guest(Frequencies(), serializer=Trap)}).restore_state(state)
    assert Trap.calls == 1


def test_what_can_not_be_serialized_is_not_kept_and_does_not_end_the_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = Failing(10**9, list, {"c0": 1.0})
    model.how = lambda: None  # which pickle refuses
    one = learner(LABELS, {"lambda": Guest(model, serializer=pickle)})
    list(feed(one, stream(LABELS, 70)))
    with caplog.at_level(logging.WARNING, "streamnet.guests"):
        state = one.export_state()
    assert state["serving"]["contenders"]["guests"]["models"] == [None]
    assert "guest 'lambda' is not kept in the checkpoint" in caplog.messages[0]


@pytest.mark.parametrize("delay", [0, 20])
def test_a_merged_class_counts_as_the_other_one(delay: int) -> None:
    block = stream(LABELS, 500, gaps=False)
    one, cut = (learner(LABELS, label_delay=delay) for _ in range(2))
    for each, sizes in ((one, (1000,)), (cut, (9,))):
        list(feed(each, block.part(0, 4 * ROUND), sizes))
        each.change_classes(ClassChange("c1", "c0"))
        list(feed(each, block.part(4 * ROUND, 500), sizes))
    assert differences(state_of(one), state_of(cut)) == []
    counts = guests_of(one).models["own"].counts
    assert any("c1" in labels for labels in counts.values())
    asked = one.predict(stream(LABELS, 30, seed=9))
    assert (asked[:, one.encoder.labels.index("c1")] == 0.0).all()


def test_a_binary_model_is_given_two_labels_as_false_and_true() -> None:
    pairs = [({"x": float(i % 2)}, "even" if i % 2 else "odd") for i in range(300)]
    one = learner(LABELS, {"lr": linear_model.LogisticRegression()})
    list(feed(one, read(pairs, LABELS)))
    assert guests_of(one).scores.measures(0)["accuracy"] > 0.95
    three = [({"x": float(i % 3)}, "abc"[i % 3]) for i in range(100)]
    one = learner(LABELS, {"lr": linear_model.LogisticRegression()})
    list(feed(one, read(three, LABELS)))
    failure = guests_of(one).failure(0)
    assert failure is not None
    assert failure.number == 2
    assert "'c' is a label, but the model is for two, which are 'a' and 'b'" in failure.reason


@pytest.mark.parametrize(
    ("guests", "task", "message"),
    [
        ([Frequencies()], LABELS, "guests is .*, but must be a dict of models by name"),
        ({"": Frequencies()}, LABELS, "guests has the name '', but must have texts as names"),
        ({"x": 7}, LABELS, r"guests\['x'\]: model is 7, but must have the methods learn_one"),
        ({"x": Frequencies}, LABELS, r"guests\['x'\]: model is <class .*, but must have"),
        (
            {"x": linear_model.LogisticRegression()},
            NUMBERS,
            r"guests\['x'\] is a model for classification, but the task is regression",
        ),
        (
            {"x": SGDRegressor()},
            LABELS,
            r"guests\['x'\] is a model for regression, but the task is classification",
        ),
        ({"x": SGDClassifier()}, LABELS, r"guests\['x'\] needs all labels in advance: give it as"),
    ],
)
def test_an_impossible_guest_is_refused(guests: Any, task: Task, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Learner(task=task, candidates=FEW, guests=guests)


def test_samples_are_dicts_without_missing_values() -> None:
    rows: Any = [({"gap": 1, "x": 2.5, "color": "red"}, "a"), ({"x": 2.0, "gap": None}, "b")]
    assert read_samples(read(rows, LABELS)) == [{"gap": 1, "x": 2.5, "color": "red"}, {"x": 2.0}]
