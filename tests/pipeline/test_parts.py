"""Runs with several targets and horizons: each part is, to the bit, the run that it were alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import numpy as np
import pytest
from msgspec.structs import replace

from streamnet.durability.state_directory import StateDirectory, read_pointer
from streamnet.errors import ConfigurationError, SchemaError, StateError
from streamnet.learning.learner import Learner
from streamnet.pipeline import Pipeline, Predictions, Rejections, State
from streamnet.pipeline.maintenance import read_state_status, roll_back
from streamnet.pipeline.outputs import Sink
from streamnet.pipeline.rejections import read_dead_letters
from streamnet.samples import Block, Field, Kind, Schema, Task
from tests.learning.streams import stream
from tests.pipeline.block_sources import ROUND, Playing, checksum, pipeline_of, plain
from tests.pipeline.interrupted_runs import FEW_CLASSES, CrashError, crashing_at

SAMPLES = 6 * ROUND + 50
TARGETS = ("y", "b", "w")
SETTINGS: dict[str, Any] = {"interval": 0.8, "evolution": {"every": 2}}


def whole_stream() -> Block:
    """A stream with numbers y and b and labels w, of which some are missing."""
    return stream(Task.REGRESSION, SAMPLES)


def alone(target: str, targets: Sequence[str] = TARGETS) -> Block:
    """The stream with one of the targets, and without the others."""
    block = whole_stream()
    (words,), (a, b) = block.words, block.numbers.T
    columns: dict[str, Any] = {"y": block.target, "a": a, "b": b, "w": words}
    fields = tuple(field for field in block.schema.fields if field.name not in targets)
    task = Task.CLASSIFICATION if target == "w" else Task.REGRESSION
    schema = Schema(fields, target, task)
    numbers = np.stack([columns[name] for name in schema.numbers], axis=1)
    left = tuple(columns[name] for name in schema.words)
    return replace(block, schema=schema, numbers=numbers, words=left, target=columns[target])


class Left(NamedTuple):
    """What one part of a run leaves."""

    model: str
    report: dict[str, Any]
    predictions: bytes
    ledger: str
    models: dict[str, bytes]


def made(
    folder: Path,
    block: Block,
    *,
    pace: int = 1,
    largest: int = 100,
    crash: tuple[int, int] | None = None,
    **settings: Any,
) -> Pipeline:
    """A pipeline with a state and predictions in ``folder``; ``crash`` is a part and a sample."""

    def prepare(learner: Learner, _: Schema) -> Sequence[Sink]:
        number, part = next(
            (i, run.part) for i, run in enumerate(pipeline.parts.values()) if run.learner is learner
        )
        predictions = Predictions(
            part.place(folder / "predictions.csv"),
            task=learner.task,
            labels=learner.encoder.labels,
            intervals=True,
        )
        at = crash[1] if crash and crash[0] == number else None
        return (predictions, crashing_at(at))

    folder.mkdir(exist_ok=True)
    pipeline = pipeline_of(
        Playing(block, seed=pace, largest=largest),
        rejections=Rejections(folder / "rejected.jsonl", share=0.5),
        prepare=prepare,
        state=State(folder / "state", every_samples=64, every_seconds=None),
        encoder=FEW_CLASSES,
        **SETTINGS | settings,
    )
    return pipeline


def go(pipeline: Pipeline) -> None:
    """Run to the end, and close the predictions."""

    async def run() -> None:
        try:
            await pipeline.run()
        finally:
            for part in pipeline.parts.values():
                for sink in part.sinks:
                    if isinstance(sink, Predictions):
                        sink.close()

    anyio.run(run)


def left(folder: Path, pipeline: Pipeline) -> dict[str, Left]:
    """What each part left."""
    newest = StateDirectory(folder / "state").generations.newest()
    assert newest is not None
    trees, result = newest.tree.get("parts", {"": newest.tree}), pipeline.result()
    found = {}
    for name, run in pipeline.parts.items():
        models = folder / "state" / "models" / run.part.slug
        found[name] = Left(
            checksum(result.parts[name].model),
            plain(result.parts[name].report),
            run.part.place(folder / "predictions.csv").read_bytes(),
            trees[name]["ledger"]["value"],
            {path.name: path.read_bytes() for path in models.glob("*.safetensors")},
        )
    return found


def without_lineage(one: Left) -> Left:
    """What is the same in runs that have other settings: lineages are part of models' files."""
    return one._replace(models={name.split("-")[0]: b"" for name in one.models})


KINDS: dict[str, dict[str, Any]] = {
    "horizons": {"horizon": (1, 24, 100)},
    "targets": {"targets": TARGETS},
    "both": {"targets": ("b", "y"), "horizon": "3,40"},
    "late": {"targets": ("y", "w"), "label_delay": 30},
}


@cache
def expected(kind: str, folder: Path) -> dict[str, Left]:
    pipeline = made(folder / kind, whole_stream(), **KINDS[kind])
    go(pipeline)
    return left(folder / kind, pipeline)


@pytest.fixture(scope="module")
def first_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parts")


@pytest.mark.parametrize("kind", KINDS)
def test_each_part_is_the_run_that_it_were_alone(
    tmp_path: Path, first_folder: Path, kind: str
) -> None:
    found = expected(kind, first_folder)
    settings = {n: v for n, v in KINDS[kind].items() if n not in {"targets", "horizon"}}
    pipeline = made(tmp_path / "parts", whole_stream(), **KINDS[kind])
    assert list(found) == list(pipeline.parts)
    for name, run in pipeline.parts.items():
        target, horizon = run.part.target or "y", run.part.horizon
        block = alone(target, KINDS[kind].get("targets", ()))
        single = made(tmp_path / name, block, horizon=horizon, **settings)
        go(single)
        (one,) = left(tmp_path / name, single).values()
        assert without_lineage(found[name]) == without_lineage(one), name


@pytest.mark.parametrize("kind", ["both", "late"])
def test_pace_blocks_and_threads_change_nothing(
    tmp_path: Path, first_folder: Path, kind: str
) -> None:
    for pace, block_size, threads in ((7, 1, 2), (8, 37, 1), (9, 500, 2)):
        folder = tmp_path / str(pace)
        settings = {"block_size": block_size, "threads": threads, **KINDS[kind]}
        pipeline = made(folder, whole_stream(), pace=pace, largest=300, **settings)
        go(pipeline)
        assert left(folder, pipeline) == expected(kind, first_folder)


@pytest.mark.parametrize("kind", KINDS)
def test_interruptions_of_any_part_leave_no_trace(
    tmp_path: Path, first_folder: Path, kind: str
) -> None:
    for turn, at in enumerate((10, 201, 202, 3 * ROUND + 1, 640)):
        crash = turn % 2, at
        pipeline = made(
            tmp_path, whole_stream(), pace=turn, largest=9 + 30 * turn, crash=crash, **KINDS[kind]
        )
        with pytest.raises(CrashError):
            go(pipeline)
    pipeline = made(tmp_path, whole_stream(), pace=99, block_size=37, threads=1, **KINDS[kind])
    go(pipeline)
    assert left(tmp_path, pipeline) == expected(kind, first_folder)


def test_other_parts_are_another_run(tmp_path: Path) -> None:
    go(made(tmp_path, whole_stream(), horizon=(1, 24)))
    for other in (
        {"horizon": (1, 25)},
        {"horizon": 1},
        {"horizon": (1, 24), "targets": ("y", "b")},
    ):
        with pytest.raises(StateError, match=r"can't be resumed: .*(horizon|targets)"):
            go(made(tmp_path, whole_stream(), **other))


def test_a_state_shows_its_parts_and_is_rolled_back(tmp_path: Path, first_folder: Path) -> None:
    folder = tmp_path / "run"
    settings: dict[str, Any] = {**KINDS["targets"], "fading": 0.9}
    go(pipeline := made(folder, whole_stream(), **settings))
    whole = left(folder, pipeline)
    status = read_state_status(folder / "state")
    assert list(status.parts) == list(TARGETS)
    for part in status.parts.values():
        counts = part.counts
        assert counts["read"] == counts["learned"] + counts["rejected"]
        assert part.caps
    assert status.parts["w"].counts["rejected"] > status.parts["y"].counts["rejected"]
    numbers = StateDirectory(folder / "state").generations.numbers()
    roll_back(folder / "state", numbers[0])
    for name, part in read_state_status(folder / "state").parts.items():
        emitted = part.tree["emitted"]
        assert part.current == read_pointer(folder / "state" / "models" / name)
        assert part.current is None or part.current.generation == emitted
    go(again := made(folder, whole_stream(), pace=5, **settings))
    found = left(folder, again)
    assert {n: without_lineage(one) for n, one in found.items()} == {
        n: without_lineage(one) for n, one in whole.items()
    }


def test_each_part_counts_all_rejected_records_and_keeps_its_own(tmp_path: Path) -> None:
    go(pipeline := made(tmp_path, whole_stream(), targets=TARGETS))
    reports = {name: part.report for name, part in pipeline.result().parts.items()}
    by_source = reports["y"]["rejected"]
    assert by_source == len(whole_stream().rejected)
    labels = reports["w"]["rejected"] - by_source
    assert reports["w"]["rejected_reasons"]["too-many-classes"] == labels > 0
    assert len((tmp_path / "rejected.jsonl").read_text().splitlines()) == by_source
    assert len((tmp_path / "rejected.w.jsonl").read_text().splitlines()) == labels
    assert not (tmp_path / "rejected.b.jsonl").exists()
    # By default the letters are in the state directory.
    for path in tmp_path.glob("rejected*.jsonl"):
        path.rename(tmp_path / "state" / path.name)
    state = tmp_path / "state"
    assert len(list(read_dead_letters(state))) == by_source + labels
    for report in reports.values():
        assert report["samples"] == report["learned"] + report["rejected"] == SAMPLES + by_source


def test_champions_and_glances_tell_of_which_part_they_are() -> None:
    async def run() -> tuple[set[str], dict[str, Any]]:
        source = Playing(whole_stream(), ends=False)
        async with pipeline_of(source, horizon=(1, 24)) as pipeline:
            await source.waits.wait()
            glances = {name: await pipeline.glance(name) for name in pipeline.parts}
        return {champion.part async for champion in pipeline.champions()}, glances

    parts, glances = anyio.run(run)
    assert parts == {"+1", "+24"}
    for (name, glance), horizon in zip(glances.items(), (1, 24), strict=True):
        assert glance is not None
        assert (glance.part, glance.model.about["horizon"]) == (name, horizon)


def test_a_weight_of_zero_hides_the_targets_of_all_parts() -> None:
    block = whole_stream()
    weight = np.where(np.arange(SAMPLES) % 3 == 0, 0.0, 1.0)
    fields = (*block.schema.fields, Field("weight", Kind.NUMBER))
    numbers = np.column_stack((block.numbers, weight))
    block = replace(block, schema=Schema(fields, "y", Task.REGRESSION), numbers=numbers)
    pipeline = pipeline_of(Playing(block), targets=TARGETS, weight="weight", encoder=FEW_CLASSES)
    anyio.run(pipeline.run)
    for name, run in pipeline.parts.items():
        column = alone(name).target
        assert column is not None
        known = [x is not None and x == x for x in column.tolist()]
        report = run.result().report
        rejected = report["rejected"] - len(block.rejected)
        assert report["scored"] + rejected <= sum(known)
        assert report["scored"] <= (np.array(known) & (weight > 0)).sum()


def test_what_a_run_with_several_parts_cannot_have_is_refused() -> None:
    source = Playing(whole_stream())
    cases: list[tuple[dict[str, Any], str]] = [
        ({"sinks": [print]}, r"sinks is given, but the run has the parts '\+1', '\+24'"),
        ({"late_labels": True}, "late_labels is given, but the run has the parts"),
        ({"horizon": "1,1"}, "horizon has 1 twice"),
        ({"horizon": tuple(range(1, 99))}, "there are 98 targets and horizons, but"),
        ({"targets": ("y", "y")}, "target has 'y' twice"),
    ]
    for settings, message in cases:
        with pytest.raises(ConfigurationError, match=message):
            pipeline_of(source, **{"horizon": (1, 24)} | settings)


def test_targets_must_be_columns_of_numbers_or_words() -> None:
    block = whole_stream()
    fields = (Field("a", Kind.NUMBER), Field("t", Kind.TIME), Field("w", Kind.CATEGORY))
    schema = Schema(fields, "y", block.schema.task)
    block = replace(block, schema=schema)
    for targets, message in ((("y", "t"), "target 't' has times"), (("y", "c"), "no column 'c'")):
        with pytest.raises(SchemaError, match=message):
            anyio.run(pipeline_of(Playing(block), targets=targets).run)


def test_the_result_of_several_parts_has_no_single_model() -> None:
    pipeline = pipeline_of(Playing(whole_stream()), horizon=("2", 5))
    result = anyio.run(pipeline.run)
    assert list(result.parts) == ["+2", "+5"]
    for name in ("model", "report"):
        with pytest.raises(ConfigurationError, match=r"the run has the parts '\+2', '\+5'"):
            getattr(result, name)
    assert result.parts["+5"].report["horizon"] == 5
