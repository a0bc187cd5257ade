"""The intake: keys, pending predictions, delayed labels, and the clock that measures their age."""

from __future__ import annotations

import re
from pathlib import Path
from time import monotonic, time
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec.structs import replace

import streamnet.daemon
from streamnet.client.schemas import Receipt
from streamnet.daemon.journal import delayed_labels
from streamnet.daemon.journal.delayed_labels import now
from streamnet.daemon.journal.frames import (
    FEED_START,
    FeedFrameHead,
    FeedPosition,
    Frame,
    FrameKind,
    build_part_key,
    decode_frames,
    decode_label,
    encode_frame,
    find_label_lines,
)
from streamnet.daemon.journal.intake import Intake
from streamnet.errors import ConfigurationError, ConflictError
from streamnet.samples import DeadLetter, Position, Prediction, Task
from streamnet.settings.daemon import IntakeSection, parse_model

MOST, AGE, KEYS = 4, 10.0, 3
IDS = st.sampled_from("abcdefgh")
LABELS = st.sampled_from(["u", "v", 1, True])
NOTHING = Prediction(None, None, 0)  # before there is a model
ANSWERS = st.sampled_from(
    [Prediction("u", {"u": 0.75, "v": 0.25}, 1, ["u"]), Prediction(None, {}, 2), NOTHING]
)


def make() -> Intake:
    settings = IntakeSection(max_pending=MOST, max_age=AGE, max_keys=KEYS)
    return Intake("y", settings)


def again(frames: list[Frame]) -> Intake:
    """The intake that the frames lead to, as they are read back."""
    intake = make()
    for _, frame in decode_frames(b"".join(map(encode_frame, frames))):
        intake.apply(frame)
    return intake


class Plain:
    """The same with lists that are searched from end to end."""

    def __init__(self) -> None:
        self.now = 0.0
        self.samples = 0
        self.keys: list[tuple[str, bytes, Receipt]] = []
        self.waiting: list[tuple[str, str, Prediction, float]] = []
        self.records = 0
        self.record: dict[str, int] = {}  # of the last sample with an ID
        self.lines: list[list[Any]] = []  # labels in the journal
        self.closed: list[tuple[str, str | None]] = []
        self.early: list[tuple[str, str, float]] = []
        self.unknown = 0
        self.outcomes: list[str] = []
        self.expired = 0

    def forget(self, identity: str) -> None:
        self.expired += 1
        self.close(identity, None)
        self.write(identity, None, None)

    def write(self, identity: str, label: str | None, answer: Any) -> None:
        self.lines.append([self.record[identity], label, answer])

    def close(self, identity: str, label: str | None) -> None:
        self.waiting = [one for one in self.waiting if one[0] != identity]
        self.closed = [*self.closed, (identity, label)][-MOST:]

    def move(self, now: float) -> None:
        self.now = max(self.now, now)
        for identity, _, _, made in list(self.waiting):
            if made + AGE <= self.now:
                self.forget(identity)
        old = [one for one in self.early if one[2] + AGE <= self.now]
        self.unknown += len(old)
        self.early = [one for one in self.early if one not in old]

    def take(self, lines: bytes, count: int, key: str | None) -> Receipt | None:
        for known, other, receipt in self.keys:
            if known == key:
                return replace(receipt, duplicate=True) if other == lines else None
        first, self.samples = self.samples, self.samples + count
        self.records += count
        receipt = Receipt(count, 0, False, first, first + count - 1)
        if key is not None:
            self.keys = [*self.keys, (key, lines, receipt)][-KEYS:]
        return receipt

    def remember(
        self, identity: str, line: str, answer: Prediction, now: float
    ) -> Prediction | None:
        if identity in [one for one, _ in self.closed]:
            return None
        for known, other, kept, _ in self.waiting:
            if known == identity:
                return kept if other == line else None
        self.record[identity] = self.records
        self.move(now)
        self.records += 1
        for early in self.early:
            if early[0] == identity:
                self.early.remove(early)
                self.join(identity, answer, early[1])
                self.outcomes.append("joined")
                return answer
        self.waiting.append((identity, line, answer, self.now))
        if len(self.waiting) > MOST:
            self.forget(self.waiting[0][0])
        return answer

    def label(self, identity: str, label: str, now: float) -> str:
        self.move(now)
        outcome = self.outcome(identity, label)
        if outcome != "early":
            self.outcomes.append(outcome)
        return outcome

    def join(self, identity: str, answer: Prediction, label: str) -> None:
        said = None if answer.value is None else (answer.value, answer.probabilities)
        self.write(identity, label, said)
        self.samples += 1
        self.close(identity, label)

    def outcome(self, identity: str, label: str) -> str:
        for known, other in self.closed:
            if known == identity:
                if other is None:
                    return "expired"
                return "duplicate" if other == label else "contradictory"
        for known, _, answer, _ in self.waiting:
            if known == identity:
                self.join(identity, answer, label)
                return "joined"
        for known, other, _ in self.early:
            if known == identity:
                return "duplicate" if other == label else "contradictory"
        self.early.append((identity, label, self.now))
        if len(self.early) > MOST:
            self.early.pop(0)
            self.unknown += 1
        return "early"


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.intake = make()
        self.plain = Plain()
        self.frames: list[Frame] = []
        self.time = 0.0

    def note(self, frame: Frame | None) -> None:
        """Keep a frame; what it says of labels is what the plain one says."""
        if frame is None:
            return
        self.frames.append(frame)
        letters = []
        if frame.kind is FrameKind.FEED_LABELS:
            letters = list(FeedFrameHead.decode(frame.head).letters)
        end = letters[0] if letters else len(frame.body)
        lines = frame.body[find_label_lines(frame) : end].splitlines()
        assert frame.body[end:].count(b"\n") == len(letters)
        told = [decode_label(line) for line in lines]
        found = [
            [one.record, None if one.label is None else _text(one.label), one.answer]
            for one in told
        ]
        assert found == self.plain.lines
        self.plain.lines.clear()
        self.plain.records += len(found)

    @rule(seconds=st.floats(-1.0, 6.0))
    def pass_time(self, seconds: float) -> None:
        self.time += seconds

    @rule(count=st.integers(1, 3), key=st.sampled_from([None, *"klmno"]))
    def take(self, count: int, key: str | None) -> None:
        lines = b'{"x": 1}\n' * count
        wanted = self.plain.take(lines, count, key)
        if wanted is None:
            with pytest.raises(ConflictError, match="was used for other samples"):
                self.intake.take(lines, count, key=key)
            return
        receipt, frame = self.intake.take(lines, count, key=key)
        assert receipt == wanted
        assert (frame is None) == receipt.duplicate
        self.note(frame)

    @rule(identity=IDS, line=st.sampled_from(['{"x":1}', "{}"]), answer=ANSWERS)
    def remember(self, identity: str, line: str, answer: Prediction) -> None:
        wanted = self.plain.remember(identity, line, answer, self.time)
        if wanted is None:
            with pytest.raises(ConflictError, match="was used"):
                self.intake.remember([identity], [line], [answer], self.time)
            return
        found, frame = self.intake.remember([identity], [line], [answer], self.time)
        assert found == [wanted]
        if frame is not None:
            first, _, labels = frame.body.partition(b"\n")
            assert (first.decode(), find_label_lines(frame)) == (line, len(first) + 1)
            assert frame.samples == 1 + labels.count(b"\n")
        self.note(frame)

    @rule(labels=st.lists(st.tuples(IDS, LABELS), min_size=1, max_size=3))
    def label(self, labels: list[tuple[str, Any]]) -> None:
        texts = [(identity, _text(value)) for identity, value in labels]
        wanted = [self.plain.label(*pair, self.time) for pair in texts]
        outcomes, frame = self.intake.label(labels, self.time)
        assert outcomes == wanted
        self.note(frame)

    @rule(
        labels=st.lists(st.tuples(IDS, LABELS), max_size=3),
        feed=st.sampled_from(["f", "g/0"]),
        rejected=st.integers(0, 2),
        state=st.dictionaries(st.sampled_from("abc"), st.integers(0, 1)),
    )
    def feed_labels(
        self, labels: list[tuple[str, Any]], feed: str, rejected: int, state: dict[str, int]
    ) -> None:
        """Labels of a stream are joined as those over HTTP, and its position moves with them."""
        self.plain.move(max(self.plain.now, self.time))
        for identity, value in labels:
            self.plain.label(identity, _text(value), self.time)
        before = self.intake.feeds.get(feed, FEED_START)
        place = Position("s", before.position.offset + 5, 0)
        kept = [name for name, value in state.items() if before.state.get(name) == value]
        changed = {name: value for name, value in state.items() if name not in kept}
        head = FeedFrameHead(feed, place, changed, kept, {}, None, ())
        letters = [DeadLetter("s", 1, None, "json", "", "")] * rejected
        frame = self.intake.feed_labels(head, labels, letters, _never, self.time)
        records = before.records + len(labels) + rejected
        assert self.intake.feeds[feed] == FeedPosition(place, state, {}, records)
        self.plain.samples += rejected
        self.plain.records += rejected
        self.note(frame)

    @rule()
    def tick(self) -> None:
        self.plain.move(self.time) if self.intake.pending.is_due(self.time) else None
        self.note(self.intake.tick(self.time))

    @rule()
    def publish(self) -> None:
        self.note(self.intake.publish())

    @rule()
    def snapshot(self) -> None:
        """As at a new segment's start: nothing before it is needed."""
        self.frames = [Frame(FrameKind.SNAPSHOT, self.intake.snapshot())]

    @invariant()
    def agrees_with_the_plain_one(self) -> None:
        assert self.intake.samples == self.plain.samples
        assert self.intake.records == self.plain.records
        assert len(self.intake.pending) == len(self.plain.waiting) <= MOST
        assert self.intake.pending.expired == self.plain.expired
        assert sum(self.intake.outcomes.values()) == len(self.plain.outcomes)
        assert self.intake.outcomes["joined"] == self.plain.outcomes.count("joined")
        assert self.intake.pending.early == len(self.plain.early) <= MOST
        assert self.intake.pending.unknown == self.plain.unknown

    def teardown(self) -> None:
        """Whenever it ends, its frames lead to the same."""
        assert again(self.frames).snapshot() == self.intake.snapshot()


def _never(row: int, detail: str) -> DeadLetter:
    raise AssertionError((row, detail))


def _text(value: Any) -> str:
    if value is True:
        return "true"
    return str(value)


Machine.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
test_the_intake_does_what_a_plain_one_does = Machine.TestCase


def test_the_label_of_a_number_is_a_number() -> None:
    intake = make()
    answers = [Prediction(2.5, None, 1), Prediction(None, None, 1)]
    intake.remember(["a", "b"], ['{"x":1}', '{"x":2}'], answers, 0.0)
    outcomes, frame = intake.label([("a", 3), ("b", 3.5), ("a", 3.0), ("a", 4)], 1.0)
    assert outcomes == ["joined", "joined", "duplicate", "contradictory"]
    assert frame.body == b"[0,3.0,2.5,null,null,null]\n[1,3.5,null,null,null,null]\n"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "label of 'a' is None, but must be a string, a number or a boolean"),
        ([1], r"label of 'a' is \[1\], but must be a string"),
        ("", "label of 'a' is '', but must be a string"),
    ],
)
def test_an_invalid_label_joins_nothing(value: Any, message: str) -> None:
    intake = make()
    intake.remember(["a", "b"], ["{}", "{}"], [Prediction("u", {}, 1)] * 2, 0.0)
    before = intake.snapshot()
    with pytest.raises(ConfigurationError, match=message):
        intake.label([("b", "u"), ("a", value)], 1.0)
    assert intake.snapshot() == before


def test_text_is_not_a_number() -> None:
    intake = make()
    intake.remember(["a"], ["{}"], [Prediction(1.0, None, 1)], 0.0)
    with pytest.raises(ConfigurationError, match="label of 'a' is 'high', but must be a number"):
        intake.label([("a", "high")], 1.0)


@pytest.mark.parametrize(
    ("prediction", "label", "line"),
    [
        (NOTHING, 7, b"[0,7,null,null,null,null]\n"),
        (NOTHING, 7.5, b"[0,7.5,null,null,null,null]\n"),
        (NOTHING, True, b"[0,true,null,null,null,null]\n"),
        (Prediction(2.0, None, 1), 7, b"[0,7.0,2.0,null,null,null]\n"),
        (Prediction(2.0, None, 1, [1.5, 2.5]), 7, b"[0,7.0,2.0,null,[1.5,2.5],null]\n"),
        (Prediction("7", {"7": 1.0}, 1), 7, b'[0,"7","7",{"7":1.0},null,null]\n'),
        (Prediction("7", {"7": 1.0}, 1, ["7"]), 7, b'[0,"7","7",{"7":1.0},["7"],null]\n'),
    ],
)
@pytest.mark.parametrize("early", [True, False])
def test_a_label_completes_its_sample_whichever_comes_first(
    prediction: Prediction, label: Any, line: bytes, early: bool
) -> None:
    intake = make()
    if early:
        assert intake.label([("a", label)], 0.0)[0] == ["early"]
        _, frame = intake.remember(["a"], ['{"x":1}'], [prediction], 0.0)
    else:
        intake.remember(["a"], ['{"x":1}'], [prediction], 0.0)
        frame = intake.label([("a", label)], 0.0)[1]
    assert frame is not None
    assert frame.body == (b'{"x":1}\n' if early else b"") + line
    assert frame.samples == 1 + early
    assert intake.records == 2
    assert intake.label([("a", label), ("a", 8)], 0.0)[0] == ["duplicate", "contradictory"]


def test_a_configured_task_tells_how_labels_are_read_before_there_is_a_model() -> None:
    intake = Intake("y", task=Task.REGRESSION)
    intake.remember(["a"], ["{}"], [NOTHING], 0.0)
    with pytest.raises(ConfigurationError, match="label of 'a' is 'high', but must be a number"):
        intake.label([("a", "high")], 0.0)
    assert intake.label([("a", 3)], 0.0)[1].body == b"[0,3.0,null,null,null,null]\n"


def test_bounds_of_a_snapshot_apply_until_there_are_others() -> None:
    intake = make()
    for number in range(3):
        intake.take(b"{}\n", 1, key=str(number))
        intake.remember([str(number)], ["{}"], [Prediction("u", {}, 1)], 0.0)
    intake.label([("0", "u")], 0.0)
    small = Intake("y", IntakeSection(max_pending=1, max_keys=1))
    wanted = small.bounds
    small.apply(Frame(FrameKind.SNAPSHOT, intake.snapshot()))
    assert small.bounds == intake.bounds
    assert len(small.pending) == 2
    frame = small.limit(wanted)
    assert frame is not None
    assert frame.body == b"[3,null,null,null,null,null]\n"
    assert len(small.pending) == 1
    assert small.pending.expired == 1
    assert small.take(b"{}\n", 1, key="2")[0].duplicate
    assert not small.take(b"{}\n", 1, key="0")[0].duplicate


@pytest.mark.parametrize(
    ("bound", "message"),
    [
        ({"max_pending": 0}, "max_pending is 0, but must be >= 1"),
        ({"max_age": 0.0}, "max_age is 0.0, but must be > 0"),
        ({"max_keys": 0}, "max_keys is 0, but must be >= 1"),
        ({"segment_bytes": 1023}, "segment_bytes is 1023, but must be >= 1024"),
    ],
)
def test_bounds_have_rules(bound: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse_model({"source": {"target": "y"}, "intake": bound})


def test_the_receipt_counts_what_is_no_sample_and_samples_without_a_target() -> None:
    intake = make()
    receipt, frame = intake.take(b"{}\n" * 3, 3, unlabeled=1, rejected=2, key="k")
    assert receipt == Receipt(1, 2, False, 0, 2, 1)
    assert frame is not None
    for known in (intake, again([frame])):
        assert known.samples == 3
        assert known.take(b"{}\n" * 3, 3, key="k")[0] == replace(receipt, duplicate=True)


def test_a_part_of_a_stream_is_not_confused_with_a_sender_s_similar_key() -> None:
    intake = make()
    for key, lines in (("k#0", b"{}\n"), (build_part_key("k", 0), b"[]\n"), ("k", b"1\n")):
        assert not intake.take(lines, 1, key=key)[0].duplicate
        assert intake.knows(key)
    with pytest.raises(ConflictError, match="key 'k' was used for other samples"):
        intake.take(b"2\n", 1, key=build_part_key("k", 0))


YEARS = 10 * 365 * 24 * 3600.0


def test_only_what_needs_the_system_time_reads_it() -> None:
    folder = Path(streamnet.daemon.__file__).parent
    wall = re.compile(r"from time import .*\btime$|\btime\.time\(", re.MULTILINE)
    found = {path.name for path in folder.rglob("*.py") if wall.search(path.read_text())}
    # The clock itself, the age of files, and for people: events, troubles, scores by the clock.
    for_people = {"events.py", "troubles.py", "timeline.py", "webhooks.py"}
    # Tokens of an identity provider expire by the clock, and the files that a replica follows have
    # the times of another machine.
    assert found == {"delayed_labels.py", "registry.py", "oidc.py", "origins.py"} | for_people


def test_the_clock_of_the_process_is_right() -> None:
    assert now() == pytest.approx(time(), abs=5.0)
    assert now() <= now()


@pytest.mark.parametrize("jump", [YEARS, -YEARS])
def test_a_change_of_the_system_time_does_not_age_predictions(
    jump: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall, steady = [time()], [monotonic()]
    monkeypatch.setattr(delayed_labels, "time", lambda: wall[0])
    monkeypatch.setattr(delayed_labels, "monotonic", lambda: steady[0])
    intake = Intake("y", IntakeSection(max_age=100.0))
    intake.remember(["monday"], ['{"x": 1}'], [Prediction("a", None, 0)], now())
    wall[0] += jump
    steady[0] += 99.0
    assert intake.tick(now()) is None
    steady[0] += 2.0
    assert intake.tick(now()) is not None
