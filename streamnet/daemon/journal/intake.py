"""State of the journal: idempotency keys, pending predictions and counters."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from hashlib import sha256
from itertools import starmap
from typing import Any, NamedTuple, final

import msgspec
import numpy as np
from msgspec import json

from streamnet.client.schemas import Outcome, Receipt, ShadowOutcome
from streamnet.daemon.journal import frames
from streamnet.daemon.journal.delayed_labels import PendingPrediction, PendingPredictions, SentLabel
from streamnet.daemon.journal.frames import (
    FEED_START,
    FeedFrameHead,
    FeedPosition,
    Frame,
    FrameKind,
    LabelLine,
    build_change_frame,
    build_feed_labels_frame,
    decode_change,
    decode_feeds,
    encode_feeds,
    encode_labels,
)
from streamnet.daemon.journal.shadows import (
    LabeledSample,
    ShadowPrediction,
    Shadows,
    parse_shadow_predictions,
    parse_task_value,
)
from streamnet.durability import checkpoint
from streamnet.durability.checkpoint import StateDict
from streamnet.errors import ConfigurationError, ConflictError
from streamnet.samples import Change, DeadLetter, Prediction, Task
from streamnet.settings.daemon import IntakeSection
from streamnet.sources.base import Reason

_DEFAULTS = IntakeSection()
_COUNTERS = ("samples", "records", "remembered", "generation", "time")


class Bounds(NamedTuple):
    """How much an intake remembers."""

    max_pending: int  # predictions waiting for their labels
    max_age: float  # seconds until a prediction expires
    max_keys: int  # idempotency keys
    max_shadows: int


@final
class Intake:
    """Idempotency keys, pending predictions and the outcomes of labels.

    Each method that changes the state returns a frame that records the change, and changes the
    state as `apply` does with that frame: replaying the frames of a journal gives the same state.
    ``scoring`` are arguments of `Shadows`.

    >>> intake = Intake("y")
    >>> receipt, frame = intake.take(b'{"x": 1, "y": "a"}', 1, key="monday")
    >>> receipt, intake.take(b'{"x": 1, "y": "a"}', 1, key="monday")[0].duplicate
    (Receipt(accepted=1, rejected=0, duplicate=False, first=0, last=0, unlabeled=0), True)
    """

    def __init__(
        self,
        target: str,
        settings: IntakeSection = _DEFAULTS,
        task: Task | None = None,
        **scoring: Any,
    ) -> None:
        self.target = target
        self.task = task  # if it is configured
        self.bounds: Bounds = Bounds(
            settings.max_pending, settings.max_age, settings.max_keys, settings.max_shadows
        )
        self.shadows: Shadows = Shadows(most=settings.max_shadows, **scoring)
        self.pending: PendingPredictions = PendingPredictions(
            max_pending=settings.max_pending, max_age=settings.max_age
        )
        self.samples: int = 0  # accepted to be learned
        self.records: int = 0  # lines of the journal: samples, also predicted ones, and labels
        self.remembered: int = 0  # predictions
        self.generation: int = 0  # of the last published model
        self.outcomes: Counter[str] = Counter()
        self.feeds: dict[str, FeedPosition] = {}
        self.time: float = 0.0  # of the last frame that has one; never decreases
        self._keys: OrderedDict[str, tuple[str, Receipt]] = OrderedDict()

    def limit(self, bounds: Bounds) -> Frame | None:
        """Apply other bounds from now on.

        Returns:
            A frame, which is yet to be applied, if there are too many predictions.
        """
        forgotten = self.pending.limit(bounds.max_pending, bounds.max_age)
        self.bounds = bounds
        self.shadows.most = bounds.max_shadows
        self._expire_shadows(self.time)
        while len(self._keys) > bounds.max_keys:
            self._keys.popitem(last=False)
        return self._build_time_frame(_forget(forgotten)) if forgotten else None

    # -------------------------------------------------------------- samples

    def take(
        self,
        lines: bytes,
        samples: int,
        *,
        unlabeled: int = 0,
        rejected: int = 0,
        key: str | None = None,
    ) -> tuple[Receipt, Frame | None]:
        """Accept lines: samples, some of which have no target, and some that are ``rejected``.

        Returns:
            The receipt, and a frame unless the key shows that they were accepted before.

        Raises:
            ConflictError: If the key was used for other samples.
        """
        counts = {"unlabeled": unlabeled, "rejected": rejected}
        if key is None:
            about: dict[str, Any] | None = counts if any(counts.values()) else None
            frame = Frame(FrameKind.SAMPLES, json.encode(about) if about else b"", lines, samples)
            return self._accept(frame, about), frame
        digest = sha256(lines).hexdigest()[:32]
        known = self._keys.get(key)
        if known is not None:
            if known[0] != digest:
                raise ConflictError(f"key {frames.strip_part(key)!r} was used for other samples")
            return msgspec.structs.replace(known[1], duplicate=True), None
        about = {"key": key, "digest": digest, **counts}
        frame = Frame(FrameKind.SAMPLES, json.encode(about), lines, samples)
        return self._accept(frame, about), frame

    def knows(self, key: str) -> bool:
        """Whether samples were accepted with a key."""
        return key in self._keys

    def _accept(self, frame: Frame, about: dict[str, Any] | None) -> Receipt:
        first, count = self.samples, frame.samples
        self.samples += count
        self.records += count
        unlabeled, rejected = (about["unlabeled"], about["rejected"]) if about else (0, 0)
        receipt = Receipt(count - rejected, rejected, unlabeled=unlabeled)
        if count:
            receipt.first, receipt.last = first, first + count - 1
        if about and "key" in about:
            self._keys[about["key"]] = about["digest"], receipt
            if len(self._keys) > self.bounds.max_keys:
                self._keys.popitem(last=False)
        return receipt

    def feed(self, frame: Frame) -> None:
        """Accept a frame of samples from a feed; see `build_feed_frame`."""
        self._advance_feed(FeedFrameHead.decode(frame.head), frame.samples)
        self.samples += frame.samples
        self.records += frame.samples

    def _advance_feed(self, head: FeedFrameHead, records: int) -> None:
        before = self.feeds.get(head.feed, FEED_START)
        self.feeds[head.feed] = before.advance(head, records)

    # ---------------------------------------------------------- predictions

    def remember(
        self,
        ids: Sequence[str],
        lines: Sequence[str],
        predictions: Sequence[Prediction],
        now: float,
    ) -> tuple[list[Prediction], Frame | None]:
        """Remember predictions by ID; ``lines`` are samples without target and line end.

        Returns:
            The predictions as they are remembered, those of known IDs as they were made then; and a
            frame if there are new ones.

        Raises:
            ConflictError: If an ID belongs to another sample, has its label or expired; then none
                is remembered.
        """
        kept: dict[str, tuple[str, Prediction]] = {}
        new = []
        for row, (identity, line) in enumerate(zip(ids, lines, strict=True)):
            if self.pending.is_settled(identity):
                raise ConflictError(f"id {identity!r} was used before, and is settled")
            waiting = self.pending.get(identity)
            if waiting is not None:
                kept.setdefault(identity, (waiting.line, waiting.prediction))
            elif identity not in kept:
                kept[identity] = line, predictions[row]
                new.append(row)
            if kept[identity][0] != line:
                raise ConflictError(f"id {identity!r} was used for another sample")
        found = [kept[identity][1] for identity in ids]
        if not new:
            return found, None
        about: dict[str, Any] = {
            "time": self._later(now),
            "ids": [ids[row] for row in new],
            "predictions": [predictions[row] for row in new],
        }
        samples = [lines[row] for row in new]
        labels = self._add_pending(about, samples)
        body = encode_labels(labels)
        about["label_bytes"] = len(body)
        body = "".join(f"{line}\n" for line in samples).encode() + body
        frame = Frame(FrameKind.PREDICTIONS, json.encode(about), body, len(new) + len(labels))
        self.records += frame.samples
        return found, frame

    def _add_pending(self, about: dict[str, Any], lines: Sequence[str]) -> list[LabelLine]:
        """Add predictions; return the labels that came before them, and what expires."""
        forgotten = self._move_to(about["time"])
        joined: list[LabelLine] = []
        labeled: list[LabeledSample] = []
        rows = zip(about["ids"], lines, about["predictions"], strict=True)
        for record, (identity, line, row) in enumerate(rows, start=self.records):
            pending = PendingPrediction(line, Prediction(*row), about["time"], record)
            self.remembered += 1
            early = self.pending.take_early(identity)
            if early is None:
                forgotten += self.pending.add(identity, pending)
                continue
            label = self._fit(early.label, pending.prediction)
            self.pending.settle(identity, [label])
            joined.append(_build_line(pending, label, early.weight))
            labeled.append(_build_labeled(identity, pending, label, early.weight))
        self.shadows.score(labeled, self.bounds.max_pending)
        self.samples += len(joined)
        self.outcomes.update({str(Outcome.JOINED): len(joined)} if joined else {})
        return _forget(forgotten) + joined

    def _fit(self, label: Any, prediction: Prediction) -> Any:
        """An early label as it is compared and learned where the task is known by now."""
        task = prediction.task or self.task
        parsed = label if task is None else parse_task_value(label, task)
        return label if isinstance(parsed, Reason) else parsed

    # --------------------------------------------------------------- labels

    def label(
        self, labels: Sequence[SentLabel | tuple[str, Any]], now: float
    ) -> tuple[list[Outcome], Frame]:
        """Join labels with the predictions that wait for them.

        Returns:
            The outcome of each label, and a frame with those that are joined.

        Raises:
            ConfigurationError: If a label is invalid; then none is joined.
        """
        parsed = [
            sent._replace(label=self._parse_label(sent.identity, sent.label))
            for sent in starmap(SentLabel, labels)
        ]
        about = {"time": self._later(now), "labels": parsed}
        outcomes, lines = self._join(about)
        frame = Frame(FrameKind.LABELS, json.encode(about), encode_labels(lines), len(lines))
        self.records += frame.samples
        return outcomes, frame

    def feed_labels(
        self,
        head: FeedFrameHead,
        labels: Sequence[tuple[str, Any]],
        rejected: Sequence[DeadLetter],
        reject: Callable[[int, str], DeadLetter],
        now: float,
    ) -> Frame:
        """Join the labels of a feed as `label` does; one that is invalid is rejected.

        Args:
            head: Of the frame, but for the labels.
            labels: IDs and labels.
            rejected: Records that are none.
            reject: Makes a rejected record of the label of an index, for a reason in words.
            now: Seconds since 1970.

        Returns:
            A frame with the labels that are joined, and the rejected records.
        """
        parsed, letters = [], list(rejected)
        for row, (identity, value) in enumerate(labels):
            try:
                parsed.append(SentLabel(identity, self._parse_label(identity, value)))
            except ConfigurationError as error:
                letters.append(reject(row, str(error)))
        head = head._replace(time=self._later(now), labels=parsed)
        _, lines = self._join({"time": head.time, "labels": head.labels})
        frame = build_feed_labels_frame(lines, letters, head)
        self._accept_feed_labels(head, frame, len(parsed) + len(letters), len(letters))
        return frame

    def _accept_feed_labels(
        self, head: FeedFrameHead, frame: Frame, records: int, rejected: int
    ) -> None:
        self._advance_feed(head, records)
        self.samples += rejected
        self.records += frame.samples

    def knows_all(self, labels: Sequence[SentLabel | tuple[str, Any]]) -> bool:
        """Whether all labels came before, so that `label` would complete no sample."""
        return all(self.pending.is_known(identity) for identity, *_ in labels)

    def _parse_label(self, identity: str, value: Any) -> Any:
        """Parse a label as it is stored and compared: a string or a number.

        While the task is not known, it stays as it was sent.
        """
        task = self.pending.find_task(identity) or self.task
        label = parse_task_value(value, task or Task.CLASSIFICATION)
        if isinstance(label, Reason) or label is None or label != label:
            number = task is Task.REGRESSION
            kind = "a number" if number else "a string, a number or a boolean"
            raise ConfigurationError(f"label of {identity!r} is {value!r}, but must be {kind}")
        return label if task is not None else value

    def _join(self, about: dict[str, Any]) -> tuple[list[Outcome], list[LabelLine]]:
        forgotten = self._move_to(about["time"])
        outcomes: list[Outcome] = []
        joined: list[LabelLine] = []
        labeled: list[LabeledSample] = []
        for sent in starmap(SentLabel, about["labels"]):
            outcome, pending = self.pending.join(sent, self.time)
            if pending is not None:
                joined.append(_build_line(pending, sent.label, sent.weight))
                labeled.append(_build_labeled(sent.identity, pending, *sent[1:]))
            outcomes.append(outcome)
        self.shadows.score(labeled, self.bounds.max_pending)
        # What becomes of an early label is counted once it is known.
        self.outcomes.update(str(one) for one in outcomes if one is not Outcome.EARLY)
        self.samples += len(joined)
        return outcomes, _forget(forgotten) + joined

    def change(self, change: Change) -> tuple[int, Frame]:
        """Take a change of the classes or the end of a key; return its line, and a frame."""
        frame = build_change_frame(change)
        self.shadows.change(change)
        self.records += frame.samples
        return self.records - 1, frame

    # -------------------------------------------------------------- shadows

    def shadow(
        self,
        name: str,
        predictions: Sequence[ShadowPrediction],
        now: float,
        task: Task | None = None,
    ) -> tuple[list[ShadowOutcome], Frame]:
        """Take predictions of a shadow, which wait for the labels of their IDs.

        Returns:
            What became of each, and a frame.

        Raises:
            ConfigurationError: If one is invalid, also for the ``task``; then none is taken.
            ConflictError: If there are too many shadows.
        """
        parsed = parse_shadow_predictions(predictions, task or self.task)
        self.shadows.check(name)
        about = {"shadow": name, "time": self._later(now), "predictions": parsed}
        outcomes = self._take_shadow(about)
        return outcomes, Frame(FrameKind.SHADOW, json.encode(about))

    def _take_shadow(self, about: dict[str, Any]) -> list[ShadowOutcome]:
        predictions = list(starmap(ShadowPrediction, about["predictions"]))
        outcomes = self.shadows.add(about["shadow"], predictions, about["time"], self._find_fate)
        self._expire_shadows(self.time)
        return outcomes

    def _find_fate(self, identity: str) -> tuple[bool, bool]:
        """Whether the label of an ID has come, and whether its prediction expired."""
        is_labeled = self.pending.is_labeled(identity)
        return is_labeled, self.pending.is_settled(identity) and not is_labeled

    def _expire_shadows(self, time: float) -> None:
        self.shadows.expire(time - self.bounds.max_age, self.bounds.max_pending)

    def remove_shadow(self, name: str) -> Frame:
        """Forget a shadow, of which there must be one; return a frame."""
        self.shadows.remove(name)
        return Frame(FrameKind.SHADOW_REMOVAL, json.encode({"shadow": name}))

    # ------------------------------------------------------ time, publication

    def tick(self, now: float) -> Frame | None:
        """Expire old predictions and early labels; return a frame if there are any."""
        now = self._later(now)
        if not (self.pending.is_due(now) or self.shadows.is_due(now - self.bounds.max_age)):
            return None
        frame = self._build_time_frame(_forget(self._move_to(now)))
        self.records += frame.samples
        return frame

    def _build_time_frame(self, lines: Sequence[LabelLine]) -> Frame:
        head = json.encode({"time": self.time})
        return Frame(FrameKind.TIME, head, encode_labels(lines), len(lines))

    def publish(self) -> Frame:
        """Count another published model."""
        self.generation += 1
        return Frame(FrameKind.MODEL, json.encode({"generation": self.generation}))

    def _later(self, now: float) -> float:
        return max(self.time, now)

    def _move_to(self, time: float) -> list[PendingPrediction]:
        """Move the clock; return the predictions that expire."""
        self.time = time
        self._expire_shadows(time)
        return self.pending.expire(time)

    # ---------------------------------------------------------------- state

    def apply(self, frame: Frame) -> None:
        """Apply a frame of the journal."""
        if frame.kind is FrameKind.SNAPSHOT:
            self._restore(checkpoint.decode(frame.head))
            return
        if frame.kind is FrameKind.FEED:
            self.feed(frame)
            return
        if frame.kind is FrameKind.FEED_LABELS:
            head = FeedFrameHead.decode(frame.head)
            self._join({"time": head.time, "labels": head.labels})
            rejected = len(head.letters)
            self._accept_feed_labels(head, frame, len(head.labels) + rejected, rejected)
            return
        if frame.kind is FrameKind.CHANGE:
            self.shadows.change(decode_change(frame.body))
            self.records += frame.samples
            return
        about: Any = json.decode(frame.head) if frame.head else None
        if frame.kind is FrameKind.SAMPLES:
            self._accept(frame, about)
            return
        if frame.kind is FrameKind.PREDICTIONS:
            # Line ends within JSON strings are escaped, so this splits at no other place.
            lines = frame.body.decode().split("\n")[: len(about["ids"])]
            self._add_pending(about, lines)
        elif frame.kind is FrameKind.LABELS:
            self._join(about)
        elif frame.kind is FrameKind.TIME:
            self._move_to(about["time"])
        elif frame.kind is FrameKind.SHADOW:
            self._take_shadow(about)
        elif frame.kind is FrameKind.SHADOW_REMOVAL:
            self.shadows.remove(about["shadow"])
        else:
            self.generation = about["generation"]
        self.records += frame.samples

    def snapshot(self) -> bytes:
        """Encode the state as the head of a snapshot."""
        return checkpoint.encode(self.export_state())

    def export_state(self) -> StateDict:
        """Export the state; later changes don't affect the export."""
        # The long lists are one array: a tree of so many parts would take seconds.
        keys = [
            (key, digest, msgspec.structs.astuple(receipt))
            for key, (digest, receipt) in self._keys.items()
        ]
        shadows, metrics = self.shadows.export_state()
        lists = {
            "pending": self.pending.export_state(),
            "keys": keys,
            "outcomes": self.outcomes,
            "shadows": shadows,
        }
        return {
            "lists": np.frombuffer(json.encode(lists), np.uint8),
            "shadows": metrics,
            "bounds": self.bounds._asdict(),
            "feeds": np.frombuffer(encode_feeds(self.feeds), np.uint8),
            **{name: getattr(self, name) for name in _COUNTERS},
        }

    def _restore(self, state: dict[str, Any]) -> None:
        lists = json.decode(state["lists"].tobytes())
        # The frames after the snapshot were accepted with its bounds.
        self.limit(Bounds(**state["bounds"]))
        self.pending.restore_state(lists["pending"])
        self._keys = OrderedDict(
            (key, (digest, Receipt(*receipt))) for key, digest, receipt in lists["keys"]
        )
        self.shadows.restore_state(lists["shadows"], state["shadows"])
        self.outcomes = Counter(lists["outcomes"])
        self.feeds = decode_feeds(state["feeds"].tobytes())
        for name in _COUNTERS:
            setattr(self, name, state[name])


def _forget(expired: Sequence[PendingPrediction]) -> list[LabelLine]:
    """Lines that say that no label will come."""
    return [LabelLine(pending.record) for pending in expired]


def _build_line(pending: PendingPrediction, label: Any, weight: float | None) -> LabelLine:
    value, probabilities, _, interval = pending.prediction
    if value is None:
        probabilities = None
    return LabelLine(pending.record, label, value, probabilities, interval, weight)


def _build_labeled(
    identity: str, pending: PendingPrediction, label: Any, weight: float | None
) -> LabeledSample:
    return LabeledSample(identity, pending.line, pending.prediction, label, weight)
