"""The outputs of a run that are written while it learns: files and sinks."""

from __future__ import annotations

from collections.abc import Container, Mapping
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
from streamnet.settings.run import RunSettings
from streamnet.settings.sinks import SENT_OUTPUTS
from streamnet.sinks.outbox import Outbox
from streamnet.sinks.registry import open_sink

_MODEL = "model"  # name of a model whose target has none


def describe_rows(run: PartRun, *, ids: bool) -> dict[str, Any]:
    """The arguments of `PredictionRows` for what a part serves; see there for ``ids``."""
    assert run.learner is not None
    return {
        "task": run.learner.task,
        "labels": run.learner.encoder.labels,
        "outliers": run.learner.encoder.autoencoder,
        "intervals": run.learner.serving.intervals is not None,
        "ids": ids,
    }


def open_sinks(
    boxes: Mapping[str, Outbox],
    run: PartRun,
    *,
    name: str | None = None,
    lineage: str | None,
    send_models: bool,
    ids: bool,
    only: Container[str] | None = None,
) -> list[ResumableSink]:
    """Make the outputs of one part of a run that are sent.

    Args:
        boxes: What sends each of them, by its name.
        run: The part, which has its learner and schema.
        name: Name of the models; by default that of the part or the target.
        lineage: The run's lineage, if its models are in a state directory.
        send_models: Whether champions have the models themselves.
        ids: Whether predictions have the ids of samples.
        only: The reasons for which rejected records are sent; None is all.
    """
    assert run.learner is not None
    assert run.schema is not None
    outputs: list[ResumableSink] = []
    if (box := boxes.get("predictions")) is not None:
        rows = PredictionRows(**describe_rows(run, ids=ids))
        outputs.append(SentPredictions(box, rows, lambda: run.emitted))
    if (box := boxes.get("dead_letters")) is not None:
        outputs.append(SentRejections(box, only))
    if (box := boxes.get("champions")) is not None:
        champions = SentChampions(
            box,
            name or run.name or run.schema.target or _MODEL,
            make_champion=run.champion,
            count_emitted=lambda: run.emitted,
            lineage=lineage,
            with_content=send_models,
        )
        outputs.append(champions)
    if (box := boxes.get("events")) is not None:
        outputs.append(SentEvents(box, run.learner.serving))
    return outputs


def open_outputs(
    settings: RunSettings, storage: RunStorage, run: PartRun, state: State | None, place: int
) -> list[ResumableSink]:
    """Make the outputs of one part of a run.

    Args:
        settings: Settings of the run.
        storage: The files of the run.
        run: The part, which has its learner and schema.
        state: Where the run keeps its state.
        place: Place of the part among those of the run.
    """
    outputs: list[ResumableSink] = []
    urls = {name: getattr(settings.output, name) for name in SENT_OUTPUTS}
    ids = settings.source.id is not None
    if storage.predictions is not None:
        path, files = storage.predictions
        urls["predictions"] = None
        described = describe_rows(run, ids=ids)
        outputs.append(Predictions(run.part.place(path), files=files, **described))
    if storage.dead_letters is not None:
        urls["dead_letters"] = None
    own = {name: run.part.place_stream(url) for name, url in urls.items() if url is not None}
    if "dead_letters" in own and not place:  # the first part sends those of the source, too
        own["dead_letters"] = str(urls["dead_letters"])
    return outputs + open_sinks(
        open_boxes(own),
        run,
        lineage=None if state is None else state.lineage,
        send_models=settings.output.send_models,
        ids=ids,
        only=CLASS_REASONS if place else None,
    )


def open_boxes(urls: Mapping[str, str]) -> dict[str, Outbox]:
    """What sends outputs, by their names, to the sinks of these URLs."""
    return {name: open_sink(url, name, keyed=name == "champions") for name, url in urls.items()}
