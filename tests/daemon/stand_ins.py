"""Stand-ins for the models of a daemon: what they say is known, and errors come when asked for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import anyio
from anyio.abc import TaskStatus
from msgspec.structs import asdict, replace

from streamnet.client.schemas import (
    Champion,
    ClassChangeReply,
    ClassLine,
    KeyRemovalReply,
    ModelState,
    Outcome,
    Overview,
    Receipt,
    Rejected,
    RejectedLine,
    ShadowOutcome,
    Status,
)
from streamnet.daemon.hosting.events import EventLog
from streamnet.daemon.hosting.hosted_model import describe_champion
from streamnet.daemon.hosting.registry import Registry
from streamnet.daemon.hosting.run_counts import summarize_shadow
from streamnet.daemon.hosting.webhooks import Webhooks
from streamnet.daemon.journal.frames import parse_label
from streamnet.daemon.journal.shadows import ShadowPrediction
from streamnet.daemon.predictions import (
    MicroBatcher,
    Predictions,
    compute_interval,
    predict_samples,
)
from streamnet.errors import ConfigurationError, ConflictError
from streamnet.modelfiles import Model
from streamnet.online import OnlineClassifier, OnlineRegressor
from streamnet.reporting.outcomes import Confusion, Residuals
from streamnet.reporting.report import (
    ColumnImportance,
    ComparedScores,
    Contender,
    FeatureDriftLine,
    History,
    Insight,
    KeyDetails,
    KeyReport,
    KeysReport,
    LeaderBoardRow,
    Mark,
    RecentError,
    Scores,
    ShadowReport,
)
from streamnet.samples import Prediction, Task
from streamnet.sources.unknown_columns import ColumnCheck

__all__ = ("StandIn", "StandInRegistry", "learned_model", "model_of_numbers")


@cache
def learned_model(interval: float | None = None) -> Model:
    """A small model of three columns that tells "on" from "off"."""
    learner = OnlineClassifier(seed=1, interval=interval)
    for i in range(600):
        sample = {"x": i % 30, "y": i % 7, "shade": ("red", "blue")[i % 2]}
        learner.learn_one(sample, "on" if i % 30 > 20 else "off")
    return learner.model()


@cache
def model_of_numbers() -> Model:
    """A small model of two columns with intervals."""
    learner = OnlineRegressor(seed=1, interval=0.8)
    for i in range(600):
        learner.learn_one({"x": i % 30, "y": i % 7}, float(i % 30 + i % 7 % 3))
    return learner.model()


class StandInKeys:
    """One key, whose model was learned."""

    details = KeyDetails(
        key="d|7",
        samples=12,
        loss=0.5,
        shared_loss=0.75,
        recent_loss=None,
        error=1.0,
        shared_error=1.5,
        drifts=1,
        drifted_at=9,
        experts={"shared": 1.0},
        targets={"last target": 3.0, "mean target": None},
    )

    def rank(self, count: int) -> KeysReport:
        fields = {name: getattr(self.details, name) for name in KeyReport.__struct_fields__}
        return KeysReport(["device"], count, [KeyReport(**fields)], [])

    columns = ("device",)

    def summarize(self) -> KeysReport:
        return self.rank(1)

    def describe(self, key: str) -> KeyDetails | None:
        return self.details if key == self.details.key else None

    def encode(self, key: str, suffix: str) -> bytes | None:
        return f"{key}{suffix}".encode() if self.describe(key) else None

    async def forget(self, key: str) -> KeyRemovalReply | None:
        return KeyRemovalReply(key, 40) if self.describe(key) else None


class StandIn:
    """Answers like a model that has learned, and keeps in lists what it is given."""

    def __init__(self, name: str, interval: float | None = None) -> None:
        self.name = name
        self.model = learned_model(interval)
        self.state: ModelState = "learning"
        self.waits_for_disk = self.is_compiling = False
        self.events = EventLog(100, clock=lambda: 0.0)
        self.events.add("state", state=self.state)
        self.taken: list[Any] = []
        self.receipts: dict[str, Receipt] = {}
        self.keys = StandInKeys()
        self.kept: dict[str, Prediction] = {}
        self.labels: dict[str, Any] = {}
        self.posted: dict[str, dict[str, ShadowPrediction]] = {}  # by shadows
        self.errors: list[Exception] = []  # raised one by one, by learn
        self.durable: list[bool] = []
        self.microbatcher = MicroBatcher(lambda samples: self.predict(samples))  # noqa: PLW0108 - tests replace it
        self.residuals: Residuals | None = None
        self.unknown_counts: frozenset[str] = frozenset()
        self.has_learned_nothing = False
        self.expected_columns = ("label",)
        self._column_check = ColumnCheck("warn", self.expected_columns)
        self._column_check.know(field.name for field in learned_model().fields)

    async def learn(
        self, samples: Sequence[Any] | bytes, *, key: str | None = None, durable: bool = True
    ) -> Receipt:
        await anyio.lowlevel.checkpoint()
        if self.errors:
            raise self.errors.pop(0)
        if key is not None and key in self.receipts:
            return replace(self.receipts[key], duplicate=True)
        rows = samples.splitlines() if isinstance(samples, bytes) else list(samples)
        first = len(self.taken)
        self.taken += rows
        self.durable.append(durable)
        receipt = Receipt(len(rows), 0, False, first, first + len(rows) - 1)
        if key is not None:
            self.receipts[key] = receipt
        return receipt

    def predict(self, samples: Any) -> Predictions:
        return predict_samples(self.model, 7, samples)

    def check_columns(self, samples: Sequence[Any]) -> str | None:
        return self._column_check.rows(samples)

    def published_model(self) -> Model:
        return self.model

    def served_model(self) -> Model:
        return self.model

    def measures(self, horizon: str = "overall") -> dict[str, float]:
        return {"accuracy": 0.9}

    def features(self) -> list[FeatureDriftLine]:
        return [FeatureDriftLine("x", 900, 0.25, 0.1, None)]

    def class_scores(self) -> dict[str, Any]:
        return {"on": {"recall": 0.8, "precision": None, "positives": 3.0}}

    async def remember(
        self, ids: Sequence[str], samples: Sequence[Any], predictions: Predictions
    ) -> list[Prediction]:
        for identity, answer in zip(ids, predictions.rows(), strict=True):
            self.kept.setdefault(identity, answer)
        return [self.kept[identity] for identity in ids]

    async def label(
        self, labels: Sequence[tuple[Any, ...]], *, durable: bool = True
    ) -> list[Outcome]:
        outcomes = []
        for identity, label, *_ in labels:
            if identity not in self.kept:
                outcomes.append(Outcome.EARLY)
            elif identity in self.labels:
                same = self.labels[identity] == label
                outcomes.append(Outcome.DUPLICATE if same else Outcome.CONTRADICTORY)
            else:
                self.labels[identity] = label
                outcomes.append(Outcome.JOINED)
        return outcomes

    async def shadow_predict(
        self, shadow: str, predictions: Sequence[ShadowPrediction], *, durable: bool = True
    ) -> list[ShadowOutcome]:
        known = self.posted.setdefault(shadow, {})
        outcomes = []
        for one in predictions:
            is_known = one.identity in known
            known.setdefault(one.identity, one)
            outcomes.append(ShadowOutcome.DUPLICATE if is_known else ShadowOutcome.WAITING)
        return outcomes

    async def remove_shadow(self, shadow: str) -> bool:
        return self.posted.pop(shadow, None) is not None

    def shadows(self) -> list[ShadowReport]:
        scores = ComparedScores(3, {"accuracy": 0.75, "log_loss": None}, {"accuracy": 0.5})
        return [
            ShadowReport(
                shadow=name,
                predictions=len(known),
                waiting=0,
                scored=3,
                unscored=1,
                late=2,
                expired=0,
                overall=scores,
                sliding=scores,
                fading=scores,
            )
            for name, known in self.posted.items()
        ]

    def status(self) -> Status:
        return Status(
            name=self.name,
            state=self.state,
            task=Task.CLASSIFICATION,
            target="label",
            samples=len(self.taken),
            metric="accuracy",
            served=0.9,
            generation=7,
            accepted=len(self.taken),
            learned=len(self.taken),
            rejected={"target": 2},
            outcomes={"joined": len(self.labels)},
            baselines={"majority": 0.7, "no_change": None},
            shadows=[summarize_shadow(one) for one in self.shadows()],
        )

    def champion(self) -> Champion:
        return describe_champion(learned_model(), 7)

    def classes(self) -> list[ClassLine]:
        return [ClassLine("off", 6), ClassLine("on", 3, "off")]

    async def change_classes(self, label: Any, into: Any = None) -> ClassChangeReply:
        if label == "none":
            raise ConfigurationError("label is 'none', but must be a class of the model")
        other = None if into is None else parse_label("into", into)
        return ClassChangeReply(parse_label("label", label), other, 40)

    def overview(self) -> Overview:
        return Overview(**asdict(self.status()), curve=[0.8, None, 0.9])

    def scores(self) -> list[Contender]:
        scores: Scores = {"accuracy": 0.9}
        shadows = [
            Contender(one.shadow, False, one.overall.shadow, one.sliding.shadow, one)
            for one in self.shadows()
        ]
        return [Contender("ensemble", True, scores, scores), *shadows]

    is_insight_due = True

    def insight(self) -> Insight:
        importance = [ColumnImportance("x", 0.25), ColumnImportance("y", 0.0)]
        errors = [RecentError(7, {"x": 3.0, "shade": "red"}, "on", "off", 0.75)]
        return Insight(
            task=Task.CLASSIFICATION,
            samples=40,
            permuted=40,
            importance=importance,
            errors=errors,
            last={"x": 25.0, "y": 2.0, "shade": "blue"},
        )

    def leaders(self) -> list[LeaderBoardRow]:
        return [LeaderBoardRow(1, "tanh 20", 0.1, "competing", True, 0, {"accuracy": 0.9})]

    def history(self) -> History | None:
        if not self.taken:
            return None
        series: dict[str, list[float | None]] = {
            "served": [0.9],
            "majority": [0.7],
            "no_change": [None],
        }
        return History("accuracy", [1], series, [Mark(1, "champion", "tanh 20")])

    def outcomes(self) -> Confusion:
        return Confusion(["off", "on"], [[5, 1], [0, 3]])

    def interval(self, generation: int) -> tuple[float, float] | None:
        return None if self.residuals is None else compute_interval(self.residuals)

    def rejected(self) -> Rejected:
        return Rejected(2, {"target": 2}, [RejectedLine("http", 3, "target", "no", "{}")])

    @property
    def dead_letters(self) -> Path:
        path = Path(gettempdir(), f"streamnet-{os.getpid()}.jsonl")
        path.write_bytes(b'{"line":3}\n{"line":4}\n{"li')
        return path

    async def pause(self) -> None:
        self.state = "paused"

    async def resume(self) -> None:
        self.state = "learning"

    async def reset(self, *, keep_old: bool = True) -> None:
        self.taken.clear()

    def encode_model(self, name: str) -> bytes:
        return name.encode()


class StandInRegistry:
    """Models in memory."""

    def __init__(self, *names: str) -> None:
        self.models = {name: StandIn(name) for name in names}
        self.settings: dict[str, Any] = {}
        self.starts: dict[str, Any] = {}
        self.webhooks = Webhooks({}, Path("models"))
        self._stopped = anyio.Event()

    health = Registry.health
    report_health = Registry.report_health

    def locked(self) -> AbstractContextManager[None]:
        return nullcontext()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await self._stopped.wait()

    def stop(self) -> None:
        for model in self.models.values():
            model.state = "stopped"
        self._stopped.set()

    async def create(self, name: str, settings: Any, start: Any = None) -> StandIn:
        if name in self.models:
            raise ConflictError(f"model {name} already exists")
        self.settings[name] = settings
        self.starts[name] = start
        self.models[name] = StandIn(name, settings.evaluation.interval)
        return self.models[name]

    async def delete(self, name: str) -> None:
        del self.models[name]
