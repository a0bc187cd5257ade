"""Outputs that are sent to sinks: predictions, rejected records, emitted models, events."""

from __future__ import annotations

import base64
import hashlib
from abc import abstractmethod
from collections.abc import Callable, Container, Iterable, Iterator
from itertools import repeat
from operator import itemgetter
from typing import Any, final

import msgspec

from streamnet.durability.state_directory import ModelPublisher
from streamnet.learning.serving import Served, ServingStage
from streamnet.learning.trainer import Snapshot
from streamnet.modelfiles import safetensors_format
from streamnet.pipeline.outputs import Champion, PredictionRows, ResumableSink
from streamnet.pipeline.rejections import describe_dead_letter
from streamnet.sinks.outbox import Outbox, OutboxStatus

_encode = msgspec.json.Encoder().encode


class SentOutput(ResumableSink):
    """An output whose records are sent by an outbox.

    Each record is a JSON object, whose ``number`` counts the records of the output from 0. Records
    are the same whenever they are made again after a crash.

    Args:
        outbox: Sends them.
    """

    key: bytes | None = None  # of its records

    def __init__(self, outbox: Outbox) -> None:
        self.name = outbox.name
        self._outbox = outbox

    def __call__(self, served: Served) -> None:
        """Queue the records of a block."""
        records = enumerate(self.make_records(served), self._outbox.number)
        values = [_encode({"number": number, **record}) for number, record in records]
        self._outbox.put(*values, key=self.key)

    @abstractmethod
    def make_records(self, served: Served) -> Iterable[dict[str, Any]]:
        """The records of a block."""

    @property
    def is_full(self) -> bool:
        """Whether so many records wait that no more should be added."""
        return self._outbox.is_full

    def wait_for_room(self) -> None:
        """Wait while too many records wait."""
        self._outbox.wait_for_room()

    def finish(self) -> None:
        """Wait until all records are delivered."""
        self._outbox.flush()

    def end(self) -> None:
        """Deliver no more."""
        self._outbox.close()

    def begin(self) -> None:
        """Connect."""
        self._outbox.begin()

    def export_state(self) -> dict[str, Any]:
        """What is needed to go on behind the records so far."""
        return self._outbox.export_state()

    def restore_state(self, state: dict[str, Any]) -> None:
        """Go on behind the records of a state, and those that the sink holds besides."""
        self._outbox.restore_state(state)

    def sync(self) -> None:
        """Wait until the records that were exported last are delivered."""
        self._outbox.sync()

    def status(self) -> OutboxStatus:
        """How many records wait, and why."""
        return self._outbox.status()


@final
class SentPredictions(SentOutput):
    """Every served prediction, see `PredictionRows`; ``generation`` counts the emitted models.

    Of what a caller got on request, it is that of the model that the response named.

    Args:
        outbox: Sends them.
        rows: What is said of each.
        count_emitted: Counts the models that were emitted by earlier blocks.
    """

    def __init__(
        self, outbox: Outbox, rows: PredictionRows, count_emitted: Callable[[], int]
    ) -> None:
        super().__init__(outbox)
        self._rows, self._count_emitted = rows, count_emitted

    def make_records(self, served: Served) -> Iterator[dict[str, Any]]:
        """The predictions of a block."""
        # A model is emitted in front of the first block of a round.
        generations: Iterator[int]
        generations = repeat(self._count_emitted() + (served.emitted is not None))
        if (requested := served.predicted.encoded.block.requested) is not None:
            generations = (one.generation for one in requested)
        for row, generation in zip(self._rows.list_rows(served), generations, strict=False):
            values = dict(zip(self._rows.columns, row, strict=True))
            for name in ("probabilities", "id"):
                if name in values and values[name] is None:
                    del values[name]
            values["generation"] = generation
            yield values


@final
class SentRejections(SentOutput):
    """Every rejected record, see `DeadLetter`.

    Args:
        outbox: Sends them.
        only: The reasons for which records are sent; None is all.
    """

    def __init__(self, outbox: Outbox, only: Container[str] | None = None) -> None:
        super().__init__(outbox)
        self._only = only

    def make_records(self, served: Served) -> Iterator[dict[str, Any]]:
        """The rejected records of a block."""
        for letter in served.predicted.encoded.block.rejected:
            if self._only is None or letter.reason in self._only:
                yield describe_dead_letter(letter)


@final
class SentChampions(SentOutput):
    """Every emitted model: what it is, and either its file in the state directory or its content.

    The key of each record is its name, so that a compacted topic keeps the newest of each.

    Args:
        outbox: Sends them.
        name: Name of what the models predict.
        make_champion: Makes the champion of a snapshot.
        count_emitted: Counts the models that were emitted by earlier blocks.
        lineage: The run's lineage, which is part of the file's name; None if there is no file.
        with_content: Whether the content is sent, as base64; always if there is no file.
    """

    def __init__(
        self,
        outbox: Outbox,
        name: str,
        *,
        make_champion: Callable[[Snapshot], Champion],
        count_emitted: Callable[[], int],
        lineage: str | None,
        with_content: bool,
    ) -> None:
        super().__init__(outbox)
        self._name = name
        self.key = name.encode()
        self._make_champion, self._count_emitted = make_champion, count_emitted
        self._lineage = lineage
        self._with_content = with_content or lineage is None

    def make_records(self, served: Served) -> Iterator[dict[str, Any]]:
        """The model that a block emits, if it does."""
        if served.emitted is None:
            return
        champion, generation = self._make_champion(served.emitted), self._count_emitted() + 1
        about = {"generation": generation, "lineage": self._lineage or ""}
        content = b"".join(safetensors_format.encode_parts(champion.document(**about)))
        found = {
            "name": self._name,
            "generation": generation,
            "samples": champion.number,
            "candidate": champion.candidate,
            "settings": champion.settings.describe(),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        if self._lineage is not None:
            found["file"] = ModelPublisher.file_name(generation, self._lineage)
        if self._with_content:
            found["model"] = base64.b64encode(content).decode()
        yield found


@final
class SentEvents(SentOutput):
    """What happens to the models: changes of champion, drifts, quarantines, changes of classes.

    Args:
        outbox: Sends them.
        serving: The stage that notes them; it may be ahead.
    """

    def __init__(self, outbox: Outbox, serving: ServingStage) -> None:
        super().__init__(outbox)
        self._serving = serving
        self._round = 0  # first sample of the round

    def make_records(self, served: Served) -> list[dict[str, Any]]:
        """The events at the samples of a block, in their order; drifts follow a round."""
        block, first = served.predicted.encoded.block, served.predicted.first
        found: list[dict[str, Any]] = []
        if block.change is not None:
            found.append({"event": "classes", "sample": first, **block.change._asdict()})
        serving, samples = self._serving, range(first, first + len(block))
        found += (
            {
                "event": "champion",
                "sample": change.number,
                "before": None if change.before is None else change.before.serial,
                "after": change.after.serial,
            }
            for change in list(serving.changes)
            if change.number in samples
        )
        found += (
            {"event": "quarantine", "sample": gone.number, "candidate": gone.member.serial}
            for gone in list(serving.retired)
            if gone.exploded and gone.number in samples
        )
        found.sort(key=itemgetter("sample"))
        if served.decision is not None:
            found += self._find_drifts(range(self._round, samples.stop))
            self._round = samples.stop
        return found

    def _find_drifts(self, samples: range) -> list[dict[str, Any]]:
        return [
            {
                "event": "drift",
                "sample": drift.number,
                "since": drift.since,
                "before": drift.before,
                "after": drift.after,
            }
            for drift in list(self._serving.drift.events)
            if drift.number in samples
        ]

    def export_state(self) -> dict[str, Any]:
        """What is needed to go on behind the records so far."""
        return {**super().export_state(), "round": self._round}

    def restore_state(self, state: dict[str, Any]) -> None:
        """Go on behind the records of a state."""
        self._round = state["round"]
        super().restore_state(state)
