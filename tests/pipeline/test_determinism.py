"""The same samples, seed and settings give the same bits, whatever the circumstances."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import pytest

from streamnet.learning.learner import Learner, build_model
from streamnet.metrics.formulas import nan_to_none
from streamnet.pipeline import Pipeline, Predictions, Rejections
from streamnet.pipeline.outputs import Sink
from streamnet.pipeline.reader import BlockSplitter
from streamnet.samples import Schema, Task
from tests.learning.streams import feed, learner_of, stream
from tests.pipeline.block_sources import CANDIDATES, ROUND, Playing, pipeline_of, plain

SAMPLES = 1300
FEW_CLASSES = {"max_classes": 4}  # the encoder refuses samples of the fifth


class Outcome(NamedTuple):
    """All that a run leaves."""

    checksum: str
    report: dict[str, Any]
    predictions: bytes
    letters: bytes
    champions: list[tuple[int, int, str]]


def outcome(
    folder: Path,
    task: Task,
    *,
    block_size: int,
    threads: int,
    backend: str,
    seed: int,
    **learning: Any,
) -> Outcome:
    predictions: list[Predictions] = []

    def prepare(learner: Learner, _: Schema) -> Sequence[Sink]:
        path = folder / "predictions.csv"
        intervals = learner.serving.intervals is not None
        labels = learner.encoder.labels
        predictions.append(Predictions(path, task=task, labels=labels, intervals=intervals))
        return predictions

    async def main() -> list[tuple[int, int, str]]:
        found = []
        async with pipeline:
            async for champion in pipeline.champions():
                checksum = champion.model.document()["checksum"]
                found.append((champion.number, champion.candidate, checksum))
        return found

    pipeline: Pipeline = pipeline_of(
        Playing(stream(task, SAMPLES), seed=seed, largest=1 + 17 * seed * seed),
        block_size=block_size,
        threads=threads,
        rejections=Rejections(folder / "rejected.jsonl", share=0.5),
        prepare=prepare,
        encoder=FEW_CLASSES,
        **learning,
    )
    champions = anyio.run(main, backend=backend)
    predictions[0].close()
    result = pipeline.result()
    return Outcome(
        result.model.document()["checksum"],
        plain(result.report),
        (folder / "predictions.csv").read_bytes(),
        (folder / "rejected.jsonl").read_bytes(),
        champions,
    )


@cache
def expected(task: Task, folder: Path) -> Outcome:
    return outcome(folder, task, block_size=1024, threads=1, backend="asyncio", seed=9)


@pytest.fixture(scope="module")
def first_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("first")


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("block_size", [1, 7, 256, 4096])
def test_bits_do_not_depend_on_blocks_threads_loop_or_pauses(
    tmp_path: Path, first_folder: Path, backend: str, block_size: int, threads: int
) -> None:
    seed = {1: 1, 7: 2, 256: 5, 4096: 8}[block_size] + threads
    found = outcome(
        tmp_path,
        Task.CLASSIFICATION,
        block_size=block_size,
        threads=threads,
        backend=backend,
        seed=seed,
    )
    assert found == expected(Task.CLASSIFICATION, first_folder)


def test_bits_do_not_depend_on_circumstances_for_numbers(
    tmp_path: Path, first_folder: Path, backend: str
) -> None:
    for block_size, threads in ((3, 2), (300, 1)):
        found = outcome(
            tmp_path,
            Task.REGRESSION,
            block_size=block_size,
            threads=threads,
            backend=backend,
            seed=3,
        )
        assert found == expected(Task.REGRESSION, first_folder)


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("delay", [0, 30])
def test_bits_of_intervals_do_not_depend_on_circumstances(
    tmp_path: Path, task: Task, delay: int
) -> None:
    options: dict[str, Any] = {"interval": 0.9, "label_delay": delay, "backend": "asyncio"}
    first, second = (
        outcome(tmp_path, task, block_size=size, threads=threads, seed=threads, **options)
        for size, threads in ((1024, 1), (7, 2))
    )
    assert first == second
    assert first.report["intervals"]["scored"] > 1000


@pytest.mark.parametrize("task", list(Task))
def test_the_pipeline_gives_the_bits_of_a_learner_in_one_thread(
    first_folder: Path, task: Task
) -> None:
    found = expected(task, first_folder)
    learner = learner_of(task, CANDIDATES, encoder=FEW_CLASSES, forecasts=True)
    cutter = BlockSplitter(block_size=999, round_size=ROUND)
    emitted = [
        (served.emitted.number, served.emitted.member.serial)
        for served in feed(learner, stream(task, SAMPLES), cutter=cutter)
        if served.emitted is not None
    ]
    assert emitted
    assert [champion[:2] for champion in found.champions[:-1]] == emitted
    assert found.champions[-1][0] == learner.trainer.number
    assert found.report["served"] == nan_to_none(learner.serving.measures())
    assert found.report["quarantines"] == learner.serving.quarantines > 0
    slot, snapshot = learner.best_snapshot()
    about = learner.model_metadata(slot) | {"target": "y"}
    assert build_model(snapshot, about).document()["checksum"] == found.checksum


def test_a_report_can_be_written_as_json_and_holds_no_nan(first_folder: Path) -> None:
    for task in Task:
        report = expected(task, first_folder).report
        assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_the_report_accounts_for_every_record(first_folder: Path) -> None:
    block = stream(Task.CLASSIFICATION, SAMPLES)
    report = expected(Task.CLASSIFICATION, first_folder).report
    assert report["samples"] == len(block) + len(block.rejected)
    assert report["samples"] == report["learned"] + report["rejected"]
    assert report["rejected"] == sum(report["rejected_reasons"].values())
    assert set(report["rejected_reasons"]) == {"arity", "too-many-classes"}
