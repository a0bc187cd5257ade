"""The state that the frames of a journal lead to: keys, pending predictions and counters."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, NamedTuple, final

import numpy as np
from msgspec import json

from streamnet.daemon.journal import frames
from streamnet.daemon.journal.delayed_labels import (
    DelayedLabelScore,
    PendingPrediction,
    PendingPredictions,
)
from streamnet.daemon.journal.frames import FileFrameHead, Frame, FrameKind
from streamnet.daemon.predictions import Answer, Outcome, Receipt
from streamnet.durability import checkpoint
from streamnet.durability.checkpoint import StateDict
from streamnet.errors import ConfigurationError, ConflictError
from streamnet.sources.columns import ParseOptions, parse_number, parse_word
from streamnet.sources.inference import MISSING
from streamnet.sources.rejection import Reason

__all__ = ("Bounds", "Intake")

_READING = ParseOptions(frozenset(MISSING), typed=True)


class Bounds(NamedTuple):
    """How much an intake remembers."""

    max_pending: int  # predictions that wait for their label
    max_age: float  # seconds that they may
    max_keys: int  # of requests


@final
class Intake:
    """Keys that were used, predictions that wait, outcomes, and the score of what was delivered.

    Each call that changes it gives the frame that says so, and does what `apply` does with that
    frame: so the frames of a journal lead to the same again.

    Args:
        target: Name of the target in the samples.
        max_pending: Predictions that may wait for their labels.
        max_age: Seconds that they may.
        max_keys: Idempotency keys that are remembered.

    Raises:
        ConfigurationError: If a number breaks its rule.

    >>> intake = Intake(target="y")
    >>> receipt, frame = intake.take(b'{"x": 1, "y": "a"}', 1, key="monday")
    >>> receipt, intake.take(b'{"x": 1, "y": "a"}', 1, key="monday")[0].duplicate
    (Receipt(accepted=1, rejected=0, duplicate=False, first=0, last=0), True)
    """

    def __init__(
        self,
        *,
        target: str,
        max_pending: int = 100_000,
        max_age: float = 7 * 24 * 3600.0,
        max_keys: int = 100_000,
    ) -> None:
        self.target = target
        self.pending = PendingPredictions(max_pending=max_pending, max_age=max_age)
        self.delivered = DelayedLabelScore()
        self.samples = 0  # accepted so far
        self.rejected = 0  # refused by earlier releases, which kept none that had no target
        self.remembered = 0  # predictions
        self.generation = 0  # of the last published model
        self.outcomes: Counter[str] = Counter()  # of labels
        self.fed: FileFrameHead | None = (
            None  # where the files stand, None before their first sample
        )
        self.fed_records = 0  # of files, good and rejected ones
        self.time = 0.0  # of the last frame that has one: it never goes back
        self._keys: OrderedDict[str, tuple[str, Receipt]] = OrderedDict()
        self.limit(Bounds(max_pending, max_age, max_keys))

    def limit(self, bounds: Bounds) -> None:
        """Use other bounds from now on.

        Raises:
            ConfigurationError: If a number breaks its rule.
        """
        if bounds.max_keys < 1:
            raise ConfigurationError(f"max_keys is {bounds.max_keys}, but must be >= 1")
        self.pending.limit(bounds.max_pending, bounds.max_age)
        self.bounds = bounds
        while len(self._keys) > bounds.max_keys:
            self._keys.popitem(last=False)

    # -------------------------------------------------------------- samples

    def take(
        self, lines: bytes, samples: int, *, rejected: int = 0, key: str | None = None
    ) -> tuple[Receipt, Frame | None]:
        """Accept samples as JSON lines; no frame if a key says that they were accepted before.

        Args:
            lines: Each with its line end.
            samples: How many there are.
            rejected: How many of them have no target, as the receipt is to tell.
            key: Text by which the sender would send the same again.

        Raises:
            ConflictError: If the key was used for others.
        """
        if key is None:
            more = {"rejected": 0, "targetless": rejected} if rejected else None
            frame = Frame(FrameKind.SAMPLES, json.encode(more) if more else b"", lines, samples)
            return self._accept(frame, more), frame
        digest = sha256(lines).hexdigest()[:32]
        known = self._keys.get(key) or self._find_earlier(key, digest)
        if known is not None:
            if known[0] != digest:
                raise ConflictError(f"key {frames.strip_part(key)!r} was used for other samples")
            return known[1]._replace(duplicate=True), None
        about = {"key": key, "digest": digest, "rejected": 0, "targetless": rejected}
        frame = Frame(FrameKind.SAMPLES, json.encode(about), lines, samples)
        return self._accept(frame, about), frame

    def knows(self, key: str) -> bool:
        """Whether `take` would take nothing new under a key."""
        return key in self._keys or frames.build_earlier_key(key) in self._keys

    def _find_earlier(self, key: str, digest: str) -> tuple[str, Receipt] | None:
        """What an earlier release kept of a part; other samples may be of a sender's own key."""
        earlier = frames.build_earlier_key(key)
        known = None if earlier is None else self._keys.get(earlier)
        return known if known is not None and known[0] == digest else None

    def _accept(self, frame: Frame, about: dict[str, Any] | None) -> Receipt:
        first, count = self.samples, frame.samples
        self.samples += count
        absent = about["rejected"] if about else 0  # from the frame, as earlier releases wrote it
        self.rejected += absent
        targetless = about.get("targetless", 0) if about else 0
        span = (first, first + count - 1) if count else (None, None)
        receipt = Receipt(count - targetless, absent + targetless, False, *span)
        if about and "key" in about:
            self._keys[about["key"]] = about["digest"], receipt
            if len(self._keys) > self.bounds.max_keys:
                self._keys.popitem(last=False)
        return receipt

    def feed(self, frame: Frame) -> None:
        """Accept samples of a file, as `fed_frame` makes them."""
        self.fed = FileFrameHead.decode(frame.head)
        self.fed_records += frame.samples
        self.samples += frame.samples

    # ---------------------------------------------------------- predictions

    def remember(
        self, ids: Sequence[str], lines: Sequence[str], answers: Sequence[Answer], now: float
    ) -> tuple[list[Answer], Frame | None]:
        """Keep predictions that are not kept yet; the answers as they are kept.

        Args:
            ids: One for each.
            lines: The samples as JSON, without target and line end.
            answers: What was predicted.
            now: Seconds since 1970.

        Raises:
            ConflictError: If an id is of another sample, or has got its label or expired; then none
                is kept.
        """
        kept: dict[str, tuple[str, Answer]] = {}
        new = []
        for row, (identity, line) in enumerate(zip(ids, lines, strict=True)):
            if self.pending.is_settled(identity):
                raise ConflictError(f"id {identity!r} was used before, and that is closed")
            waiting = self.pending.get(identity)
            if waiting is not None:
                kept.setdefault(identity, (waiting.line, waiting.answer))
            elif identity not in kept:
                kept[identity] = line, answers[row]
                new.append(row)
            if kept[identity][0] != line:
                raise ConflictError(f"id {identity!r} was used for another sample")
        found = [kept[identity][1] for identity in ids]
        if not new:
            return found, None
        about = {
            "time": self._later(now),
            "ids": [ids[row] for row in new],
            "answers": [answers[row] for row in new],
        }
        body = "".join(f"{lines[row]}\n" for row in new)
        self._keep(about, body)
        return found, Frame(FrameKind.PREDICTIONS, json.encode(about), body.encode())

    def _keep(self, about: dict[str, Any], body: str) -> None:
        self._move_to(about["time"])
        # JSON has its own line ends within texts, so this splits nothing else.
        lines = body.split("\n")[:-1]
        for identity, line, answer in zip(about["ids"], lines, about["answers"], strict=True):
            self.pending.add(identity, PendingPrediction(line, Answer(*answer), about["time"]))
            self.remembered += 1

    # --------------------------------------------------------------- labels

    def label(self, labels: Sequence[tuple[str, Any]], now: float) -> tuple[list[Outcome], Frame]:
        """Join labels with the predictions that wait for them; what becomes of each.

        The frame has the samples that they complete.

        Raises:
            ConfigurationError: If a label can't be one; then none is joined.
        """
        told = [[identity, self._told(identity, value)] for identity, value in labels]
        about = {"time": self._later(now), "labels": told}
        outcomes, lines = self._join(about)
        body = "".join(lines).encode()
        return outcomes, Frame(FrameKind.LABELS, json.encode(about), body, len(lines))

    def knows_all(self, labels: Sequence[tuple[str, Any]]) -> bool:
        """Whether `label` would complete no sample, since all of them came before."""
        return all(self.pending.is_settled(identity) for identity, _ in labels)

    def _told(self, identity: str, value: Any) -> str | float:
        """A label as it is kept and compared: a text, or a number."""
        number = self.pending.is_number(identity)
        told = parse_number(value, _READING) if number else parse_word(value, _READING)
        if isinstance(told, Reason) or told is None or told != told:
            kind = "a number" if number else "a text, a number or a truth value"
            raise ConfigurationError(f"label of {identity!r} is {value!r}, but must be {kind}")
        return told

    def _join(self, about: dict[str, Any]) -> tuple[list[Outcome], list[str]]:
        self._move_to(about["time"])
        outcomes, lines = [], []
        for identity, truth in about["labels"]:
            outcome, pending = self.pending.join(identity, truth)
            if pending is not None:
                self.delivered.add(pending.answer, truth)
                lines.append(self._completed(pending.line, truth))
            outcomes.append(outcome)
        self.outcomes.update(map(str, outcomes))
        self.samples += len(lines)
        return outcomes, lines

    def _completed(self, line: str, truth: str | float) -> str:
        """A sample with its target, as a line."""
        target = json.encode({self.target: truth}).decode()
        return f"{target}\n" if line == "{}" else f"{line[:-1]},{target[1:]}\n"

    # ----------------------------------------------------------- the others

    def tick(self, now: float) -> Frame | None:
        """Give up predictions that are too old; no frame if there is none."""
        now = self._later(now)
        if not self.pending.is_due(now):
            return None
        self._move_to(now)
        return Frame(FrameKind.TIME, json.encode({"time": now}))

    def publish(self) -> Frame:
        """Number the next model that is published."""
        self.generation += 1
        return Frame(FrameKind.MODEL, json.encode({"generation": self.generation}))

    def _later(self, now: float) -> float:
        return max(self.time, now)

    def _move_to(self, time: float) -> None:
        self.time = time
        self.pending.expire(time)

    # ----------------------------------------------------------------- fold

    def apply(self, frame: Frame) -> None:
        """Do what a frame of the journal says."""
        if frame.kind is FrameKind.SNAPSHOT:
            self._restore(checkpoint.decode(frame.head))
            return
        if frame.kind is FrameKind.FILE:
            self.feed(frame)
            return
        about: Any = json.decode(frame.head) if frame.head else None
        if frame.kind is FrameKind.SAMPLES:
            self._accept(frame, about)
        elif frame.kind is FrameKind.PREDICTIONS:
            self._keep(about, frame.body.decode())
        elif frame.kind is FrameKind.LABELS:
            self._join(about)
        elif frame.kind is FrameKind.TIME:
            self._move_to(about["time"])
        else:
            self.generation = about["generation"]

    def snapshot(self) -> bytes:
        """All that frames have led to, as the head of a snapshot."""
        return checkpoint.encode(self.export_state())

    def export_state(self) -> StateDict:
        """All that frames have led to, as a snapshot holds it: later changes are not in it."""
        # The long lists as one array: a tree of so many parts would take seconds.
        lists = {
            "pending": self.pending.export_state(),
            "keys": list(self._keys.items()),
            "outcomes": self.outcomes,
        }
        return {
            "lists": np.frombuffer(json.encode(lists), np.uint8),
            "delivered": self.delivered.export_state(),
            "bounds": self.bounds._asdict(),
            "samples": self.samples,
            "rejected": self.rejected,
            "remembered": self.remembered,
            "generation": self.generation,
            "time": self.time,
            "fed": None if self.fed is None else np.frombuffer(self.fed.encode(), np.uint8),
            "fed_records": self.fed_records,
        }

    def _restore(self, state: dict[str, Any]) -> None:
        lists = json.decode(state["lists"].tobytes())
        # The frames behind it were taken under its bounds. Earlier releases kept none.
        self.limit(Bounds(**state["bounds"]) if "bounds" in state else self.bounds)
        self.pending.restore_state(lists["pending"])
        self._keys = OrderedDict(
            (key, (digest, Receipt(*receipt))) for key, (digest, receipt) in lists["keys"]
        )
        self.outcomes = Counter(lists["outcomes"])
        self.delivered.restore_state(state["delivered"])
        self.samples = state["samples"]
        self.rejected = state["rejected"]
        self.remembered = state["remembered"]
        self.generation = state["generation"]
        self.time = state["time"]
        # Journals of the first releases knew no files.
        fed = state.get("fed")
        self.fed = None if fed is None else FileFrameHead.decode(fed.tobytes())
        self.fed_records = state.get("fed_records", 0)
