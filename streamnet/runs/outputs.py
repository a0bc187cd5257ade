"""The outputs of a run that are written while it learns: files and sinks."""

from __future__ import annotations

from typing import Any

from streamnet.features.columns.label import CLASS_REASONS
from streamnet.pipeline.outputs import PredictionRows, Predictions, ResumableSink
from streamnet.pipeline.part_run import PartRun
from streamnet.pipeline.sent_outputs import (
    SentChampions,
    SentEvents,
    SentPredictions,
    SentRejections,
)
from streamnet.pipeline.state import State
from streamnet.runs.storage import RunStorage
from streamnet.settings.run import OutputSettings
from streamnet.sinks.outbox import Outbox
from streamnet.sinks.registry import open_sink

_MODEL = "model"  # name of a model whose target has none


def open_outputs(
    settings: OutputSettings, storage: RunStorage, run: PartRun, state: State | None, place: int
) -> list[ResumableSink]:
    """Make the outputs of one part of a run.

    Args:
        settings: Where they go.
        storage: The files of the run.
        run: The part, which has its learner and schema.
        state: Where the run keeps its state.
        place: Place of the part among those of the run.
    """

    def send(url: str, output: str, *, keyed: bool = False) -> Outbox:
        return open_sink(run.part.place_stream(url), output, keyed=keyed)

    assert run.learner is not None
    assert run.schema is not None
    outputs: list[ResumableSink] = []
    if settings.predictions is not None:
        described: dict[str, Any] = {
            "task": run.learner.task,
            "labels": run.learner.encoder.labels,
            "outliers": run.learner.encoder.autoencoder,
            "intervals": run.learner.serving.intervals is not None,
        }
        if storage.predictions is None:
            rows = PredictionRows(**described)
            outbox = send(settings.predictions, "predictions")
            outputs.append(SentPredictions(outbox, rows, lambda: run.emitted))
        else:
            path, files = storage.predictions
            outputs.append(Predictions(run.part.place(path), files=files, **described))
    if storage.dead_letters is None:
        url, name = str(settings.dead_letters), "dead_letters"
        # The first part sends those of the source, too.
        outbox = send(url, name) if place else open_sink(url, name)
        outputs.append(SentRejections(outbox, CLASS_REASONS if place else None))
    if settings.champions is not None:
        champions = SentChampions(
            send(settings.champions, "champions", keyed=True),
            run.name or run.schema.target or _MODEL,
            make_champion=run.champion,
            count_emitted=lambda: run.emitted,
            lineage=None if state is None else state.lineage,
            with_content=settings.send_models,
        )
        outputs.append(champions)
    if settings.events is not None:
        outputs.append(SentEvents(send(settings.events, "events"), run.learner.serving))
    return outputs
