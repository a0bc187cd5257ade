"""Shadows: which of their predictions count, and their scores beside those of what was served."""

from __future__ import annotations

from math import log
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from streamnet.daemon.journal.delayed_labels import SentLabel
from streamnet.daemon.journal.frames import Frame, FrameKind, decode_frames, encode_frame
from streamnet.daemon.journal.intake import Intake
from streamnet.daemon.journal.shadows import ShadowPrediction
from streamnet.errors import ConfigurationError, ConflictError
from streamnet.metrics import Evaluation
from streamnet.reporting.report import ComparedScores
from streamnet.samples import ClassChange, Prediction, Task
from streamnet.settings.daemon import IntakeSection

AGE, WINDOW, FADING, MOST = 10.0, 4, 0.75, 2
NAMES, IDS = "rst", "abcdefgh"
LABELS = st.sampled_from("uvw")
CHANCES = st.sampled_from([None, {"u": 0.75, "v": 0.25}, {"v": 0.5, "w": 0.5}, {"x": 1.0}])
SERVED = st.sampled_from(
    [
        Prediction("u", {"u": 0.75, "v": 0.25}, 1),
        Prediction("w", {"v": 0.25, "w": 0.75}, 2),
        Prediction(None, None, 0),  # before there is a model
    ]
)


def make(**others: Any) -> Intake:
    given = IntakeSection(max_age=AGE, max_shadows=MOST, **others)
    return Intake("y", given, window=WINDOW, fading=FADING)


def again(frames: list[Frame]) -> Intake:
    """The intake that the frames lead to, as they are read back."""
    intake = make()
    for _, frame in decode_frames(b"".join(map(encode_frame, frames))):
        intake.apply(frame)
    return intake


class PlainShadow:
    """The same with lists."""

    def __init__(self) -> None:
        self.waiting: dict[str, tuple[Any, Any, float]] = {}
        self.used: set[str] = set()
        self.pairs: list[tuple[Any, ...]] = []  # label, probabilities of both, and the truth
        self.unscored = self.late = self.expired = self.predictions = 0

    def post(self, identity: str, value: Any, chances: Any, time: float, fate: str) -> str:
        if identity in self.used:
            return "duplicate"
        if fate:
            setattr(self, fate, getattr(self, fate) + 1)
            return fate
        self.used.add(identity)
        self.predictions += 1
        self.waiting[identity] = value, chances, time
        return "waiting"

    def move(self, now: float) -> None:
        for identity, (*_, time) in list(self.waiting.items()):
            if time + AGE <= now:
                del self.waiting[identity]
                self.expired += 1

    def label(self, identity: str, served: Prediction, truth: str) -> None:
        if identity not in self.waiting:
            return
        value, chances, _ = self.waiting.pop(identity)
        if served.value is None:
            self.unscored += 1
            return
        if value is None:
            value = max(chances, key=chances.get)
        self.pairs.append((value, chances, served.value, served.probabilities, truth))


def score(pairs: list[tuple[Any, ...]], own: bool, factor: float = 1.0) -> dict[str, float | None]:
    """Metrics of labels and probabilities, each sample weighing ``factor`` times the next."""
    if not pairs:
        return {}
    weights = [factor**age for age in reversed(range(len(pairs)))]
    given = [(pair[0:2] if own else pair[2:4], pair[4]) for pair in pairs]
    answers = [label for (label, _), _ in given]
    truths = [truth for _, truth in given]
    known = sorted({*answers, *truths})
    found = Evaluation.of(truths, answers, labels=known, sample_weight=weights).measures()
    scores: dict[str, float | None] = {
        name: found[name] for name in ("accuracy", "balanced_accuracy", "macro_f1", "kappa")
    }
    losses: list[float] = [
        -log(max((chances or {}).get(truth, 0.0), 1e-4)) for (_, chances), truth in given
    ]
    mean = sum(w * x for w, x in zip(weights, losses, strict=True)) / sum(weights)
    scores["log_loss"] = mean
    return scores


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.intake = make()
        self.frames: list[Frame] = []
        self.now = self.moved = 0.0
        self.shadows: dict[str, PlainShadow] = {}
        self.served: dict[str, tuple[Prediction, float]] = {}  # that wait
        self.early: dict[str, tuple[str, float]] = {}
        self.fates: dict[str, str] = {}  # late or expired, by ID
        self.merged = False
        self.follows = 0

    def note(self, frame: Frame | None) -> None:
        self.frames += [] if frame is None else [frame]

    def move(self) -> None:
        self.moved = self.now
        for identity, (_, time) in list(self.served.items()):
            if time + AGE <= self.now:
                del self.served[identity]
                self.fates[identity] = "expired"
        for identity, (_, time) in list(self.early.items()):
            if time + AGE <= self.now:
                del self.early[identity], self.fates[identity]
        for shadow in self.shadows.values():
            shadow.move(self.now)

    def read(self, label: str) -> str:
        return "u" if self.merged and label == "w" else label

    @rule(seconds=st.integers(1, 4))
    def pass_time(self, seconds: int) -> None:
        self.now += seconds

    @rule(identity=st.sampled_from(IDS), served=SERVED)
    def predict(self, identity: str, served: Prediction) -> None:
        if identity in self.served or self.fates.get(identity) == "expired":
            return
        if identity in self.fates and identity not in self.early:
            return
        self.note(self.intake.remember([identity], ["{}"], [served], self.now)[1])
        self.move()
        if identity in self.early:
            self.join(identity, served, self.early.pop(identity)[0])
        else:
            self.served[identity] = served, self.now

    @rule(identity=st.sampled_from(IDS), label=LABELS)
    def label(self, identity: str, label: str) -> None:
        self.note(self.intake.label([(identity, label)], self.now)[1])
        self.move()
        if identity in self.served:
            self.join(identity, self.served.pop(identity)[0], label)
        elif identity not in self.fates:
            self.early[identity] = label, self.now
            self.fates[identity] = "late"

    def join(self, identity: str, served: Prediction, label: str) -> None:
        self.fates[identity] = "late"
        chances = {self.read(name): p for name, p in (served.probabilities or {}).items()}
        value = None if served.value is None else self.read(str(served.value))
        for shadow in self.shadows.values():
            own = shadow.waiting.get(identity)
            if own is not None:
                sums: dict[str, float] | None = None if own[1] is None else {}
                for name, p in (own[1] or {}).items():
                    assert sums is not None
                    sums[self.read(name)] = sums.get(self.read(name), 0.0) + p
                first = own[0]
                if first is None:
                    first = max(own[1], key=own[1].get)
                shadow.waiting[identity] = self.read(first), sums, own[2]
            shadow.label(identity, Prediction(value, chances, 1), self.read(label))

    @rule(
        name=st.sampled_from(NAMES),
        identity=st.sampled_from(IDS),
        value=st.one_of(st.none(), LABELS),
        chances=CHANCES,
    )
    def post(self, name: str, identity: str, value: Any, chances: Any) -> None:
        if value is None and chances is None:
            return
        given = [ShadowPrediction(identity, value, chances)]
        if name not in self.shadows and len(self.shadows) == MOST:
            with pytest.raises(ConflictError, match=r"one more than intake\.max_shadows, 2"):
                self.intake.shadow(name, given, self.now)
            return
        shadow = self.shadows.setdefault(name, PlainShadow())
        fate = self.fates.get(identity, "")
        wanted = shadow.post(identity, value, chances, self.now, fate)
        outcomes, frame = self.intake.shadow(name, given, self.now, Task.CLASSIFICATION)
        assert outcomes == [wanted]
        self.note(frame)
        shadow.move(self.moved)

    @rule(
        order=st.permutations(["predict", "r", "s"]),
        served=SERVED,
        label=LABELS,
        values=st.lists(st.one_of(st.none(), LABELS), min_size=2, max_size=2),
        chances=st.lists(CHANCES, min_size=2, max_size=2),
    )
    def follow_a_sample(
        self, order: list[str], served: Prediction, label: str, values: Any, chances: Any
    ) -> None:
        """As it should be: all predict a new sample, and then its label comes."""
        identity = f"new-{self.follows}"
        self.follows += 1
        for name in order:
            if name == "predict":
                self.predict(identity, served)
            else:
                self.post(name, identity, values["rs".index(name)], chances["rs".index(name)])
        self.label(identity, label)

    @rule(name=st.sampled_from(NAMES))
    def remove(self, name: str) -> None:
        if self.shadows.pop(name, None) is not None:
            self.note(self.intake.remove_shadow(name))

    @rule()
    def merge(self) -> None:
        if not self.merged:
            self.note(self.intake.change(ClassChange("w", "u"))[1])
            self.merged = True

    @rule()
    def snapshot(self) -> None:
        self.frames = [Frame(FrameKind.SNAPSHOT, self.intake.snapshot())]

    @invariant()
    def agrees_with_the_plain_one(self) -> None:
        reports = {one.shadow: one for one in self.intake.shadows.reports()}
        assert [*reports] == sorted(self.shadows)
        for name, plain in self.shadows.items():
            found, pairs = reports[name], plain.pairs
            assert found.predictions == plain.predictions
            assert found.waiting == len(plain.waiting)
            assert found.scored == len(pairs)
            assert found.unscored == plain.unscored
            assert (found.late, found.expired) == (plain.late, plain.expired)
            check(found.overall, pairs, pairs)
            check(found.sliding, pairs[-WINDOW:], pairs)
            check(found.fading, pairs, pairs, FADING)

    def teardown(self) -> None:
        """Whenever it ends, its frames lead to the same bits."""
        assert again(self.frames).snapshot() == self.intake.snapshot()


def check(
    found: ComparedScores,
    pairs: list[tuple[Any, ...]],
    so_far: list[tuple[Any, ...]],
    factor: float = 1.0,
) -> None:
    assert found.samples == len(pairs)
    for own, given in ((True, found.shadow), (False, found.served)):
        wanted = score(pairs, own, factor)
        if own and any(chances is None for _, chances, *_ in so_far):
            wanted["log_loss"] = None
        for name, value in wanted.items():
            told = given[name]
            if value is None or value != value:
                assert told is None, (name, told)
            else:
                assert told == pytest.approx(value, abs=1e-6), name


Machine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
test_shadows_are_scored_as_plain_lists_are = Machine.TestCase


def test_numbers_are_compared_by_the_weight_of_each_sample() -> None:
    intake = Intake("y", task=Task.REGRESSION, weight="w")
    samples = {"a": ('{"w":3}', 1.0, 4.0, 2.0), "b": ("{}", 5.0, 5.5, 9.0)}
    for identity, (line, served, shadow, _) in samples.items():
        intake.remember([identity], [line], [Prediction(served, None, 1)], 0.0)
        intake.shadow("rival", [ShadowPrediction(identity, shadow)], 0.0)
    intake.label([(identity, truth) for identity, (*_, truth) in samples.items()], 1.0)
    (report,) = intake.shadows.reports()
    assert report.overall.shadow["mae"] == pytest.approx((3 * 2.0 + 3.5) / 4)
    assert report.overall.served["mae"] == pytest.approx((3 * 1.0 + 4.0) / 4)


def test_a_label_without_weight_or_of_a_retired_class_scores_nobody() -> None:
    intake = make()
    intake.remember([*"ab"], ["{}"] * 2, [Prediction("u", {"u": 1.0}, 1)] * 2, 0.0)
    intake.shadow("rival", [ShadowPrediction(one, "u") for one in "ab"], 0.0)
    intake.change(ClassChange("v", None))
    intake.label([SentLabel("a", "u", 0.0), SentLabel("b", "v")], 1.0)
    (report,) = intake.shadows.reports()
    assert (report.scored, report.unscored) == (0, 2)


def test_predictions_of_a_shadow_are_bounded() -> None:
    intake = make(max_pending=3)
    outcomes, _ = intake.shadow("rival", [ShadowPrediction(one, "u") for one in "abcde"], 0.0)
    assert {*outcomes} == {"waiting"}
    (report,) = intake.shadows.reports()
    assert (report.waiting, report.expired) == (3, 2)
    assert intake.tick(AGE) is not None  # though nothing else waits
    assert intake.shadows.reports()[0].waiting == 0


@pytest.mark.parametrize(
    ("task", "given", "message"),
    [
        (None, {"value": [1]}, r"prediction of 'a' is \[1\], but must be a string, a number"),
        (Task.REGRESSION, {"value": "high"}, "is 'high', but must be a finite number"),
        (Task.REGRESSION, {"value": 1.0, "probabilities": {"u": 1.0}}, "predicts numbers"),
        (None, {"probabilities": {"u": 0.5}}, "of 'a' sum to 0.5, but must sum to 1"),
        (None, {"probabilities": {"u": 1.5, "v": -0.5}}, "of 'a' must be from 0 to 1"),
    ],
)
def test_an_invalid_prediction_of_a_shadow_changes_nothing(
    task: Task | None, given: dict[str, Any], message: str
) -> None:
    intake = make()
    before = intake.snapshot()
    with pytest.raises(ConfigurationError, match=message):
        intake.shadow(
            "rival", [ShadowPrediction("b", 1), ShadowPrediction("a", **given)], 0.0, task
        )
    assert intake.snapshot() == before
