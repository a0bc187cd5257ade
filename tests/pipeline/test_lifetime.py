"""A pipeline checks its arguments, starts up, and copes with small streams."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import numpy as np
import pytest
from anyio import Event, from_thread, move_on_after

from streamnet.errors import ConfigurationError, DataError, NoCandidateError
from streamnet.learning.serving import Served
from streamnet.pipeline import Pipeline, pipeline
from streamnet.pipeline.pipeline import compile_in_background
from streamnet.pipeline.state import State
from streamnet.samples import Block, Task
from streamnet.settings.candidate import CandidateSettings
from streamnet.sources import IterableSource
from tests.conftest import Runner
from tests.learning.streams import candidate, stream
from tests.pipeline.block_sources import CANDIDATES, N, Playing, checksum, pipeline_of, plain, rows


def source() -> IterableSource:
    return IterableSource([{"x": i % 3, "y": "ab"[i % 2]} for i in range(100)], target="y")


async def late(_: object) -> None:
    """A sink that nobody would await."""


class Late:
    """Another one."""

    async def __call__(self, _: object) -> None:
        """Do nothing."""


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"state": "folder"}, "state is 'folder', but must be a State or None"),
        ({"start": "m.json"}, "start is 'm.json', but must be a Model or None"),
        ({"rejections": 5}, "rejections is 5, but must be a Rejections or None"),
        ({"threads": "2"}, "threads is '2', but must be a whole number"),
        ({"threads": 0}, "threads is 0, but must be >= 1"),
        ({"inline_seconds": "x"}, "inline_seconds is 'x', but must be a number"),
        ({"block_size": 2.5}, r"block_size is 2\.5, but must be a whole number"),
        ({"sinks": [5]}, "sinks has 5, but must have functions"),
        ({"sinks": [late]}, "sinks has <function late .*, but must have functions"),
        ({"sinks": [Late()]}, "sinks has <.*Late object .*, but must have functions"),
        ({"sinks": print}, "sinks is <built-in function print>, but must be a list of functions"),
        ({"prepare": lambda *_: print}, "sinks is <built-in function print>, but must be a list"),
        ({"window": "9"}, "window is '9', but must be a whole number"),
        ({"alpha": "0.1"}, r"alpha is '0\.1', but must be a number"),
        ({"encoder": {"autoencoder": 4}}, r"encoder\.autoencoder is 4, but must be a dict"),
        ({"encoder": {"clip": "x"}}, "clip is 'x', but must be a number"),
    ],
)
def test_an_argument_of_the_wrong_type_is_refused(
    run: Runner, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        run(Pipeline(source(), **given).run)


def test_sinks_from_an_iterator_are_called(run: Runner) -> None:
    given: list[Served] = []
    prepared: list[Served] = []
    once: Any = (iter(sinks) for sinks in ([given.append], [prepared.append]))
    run(Pipeline(source(), sinks=next(once), prepare=lambda *_: next(once)).run)
    assert sum(len(served.serials) for served in given) == 100
    assert prepared == given


def test_numpy_numbers_give_the_same_run_as_python_numbers(run: Runner, tmp_path: Path) -> None:
    def learned(state: State, kind: Any, real: Any, dtype: Any) -> Any:
        candidates = [CandidateSettings(hidden=(kind(4),), learning_rate=real(0.25))]
        encoder: Any = {"clip": real(4), "max_categories": kind(9)}
        pipeline = Pipeline(
            source(),
            candidates=candidates,
            state=state,
            threads=kind(1),
            alpha=real(0.25),
            dtype=dtype,
            encoder=encoder,
        )
        return run(pipeline.run)

    ours = learned(State(tmp_path / "a"), int, float, "float64")
    theirs = learned(State(tmp_path / "b"), np.int64, np.float32, np.float64)
    assert json.loads(json.dumps(theirs.report))["served"] == ours.report["served"]
    assert theirs.model.document()["checksum"] == ours.model.document()["checksum"]
    resumed = Pipeline(
        source(),
        candidates=[CandidateSettings(hidden=(4,), learning_rate=0.25)],
        state=State(tmp_path / "b", resume=True),
        alpha=0.25,
        dtype="float64",
        encoder={"clip": 4.0, "max_categories": 9},
    )
    assert run(resumed.run).report["learned"] == 100


class Ahead:
    """It notes that it was ended."""

    ended = 0

    def end(self) -> None:
        self.ended += 1


@pytest.mark.parametrize("how", ["well", "by an error", "by a cancellation"])
def test_the_compile_process_is_ended(
    how: str, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead, given = Ahead(), []

    def begun(dtype: str) -> Any:
        given.append(dtype)
        return ahead

    monkeypatch.setattr(pipeline, "start_compiling", begun)

    async def opening() -> None:
        async with compile_in_background("float64") as found:
            assert id(found) == id(ahead)
            assert not ahead.ended
            if how == "by an error":
                raise DataError("it can't be opened")
            if how == "by a cancellation":
                with move_on_after(10):
                    await Event().wait()

    async def main() -> None:
        if how == "by an error":
            with pytest.raises(DataError, match="can't be opened"):
                await opening()
        else:
            with move_on_after(0.05):
                await opening()

    run(main)
    assert (ahead.ended, given) == (1, ["float64"])


def test_without_anything_to_compile_no_process_is_ended(
    run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "start_compiling", lambda _: None)

    async def main() -> None:
        async with compile_in_background("float32") as found:
            assert found is None

    run(main)


def test_an_empty_source_is_refused(run: Runner) -> None:
    with pytest.raises(DataError, match="holds no samples"):
        run(Pipeline(IterableSource([], target="y")).run)


def test_a_source_of_only_rejected_records_is_an_error_that_shows_the_first(run: Runner) -> None:
    block = stream(Task.REGRESSION, 50)

    class OnlyBad(Playing):
        async def receive(self) -> Block | None:
            if self.given:
                return None
            self.given = 1
            return block.take(np.empty(0, np.intp))

    with pytest.raises(DataError, match=r"all 8 records .* The first one, s.csv, line 6: one"):
        run(pipeline_of(OnlyBad(block)).run)


@pytest.mark.parametrize("n", [1, 2])
def test_a_stream_of_one_or_two_samples_gives_a_model(run: Runner, n: int) -> None:
    result = run(Pipeline(IterableSource(rows(n), target="y"), candidates=CANDIDATES).run)
    assert result.report["learned"] == n
    assert result.report["served"]["accuracy"] == 0.0
    assert result.model.predict(rows(1)).tolist() in [["c0"], ["c1"]]
    json.dumps(result.report, allow_nan=False)


def test_a_stream_of_one_class_gives_a_model(run: Runner) -> None:
    one = [row | {"y": "same"} for row in rows(300)]
    result = run(Pipeline(IterableSource(one, target="y"), candidates=CANDIDATES).run)
    assert result.model.labels == ("same",)
    assert result.report["served"]["accuracy"] == pytest.approx(299 / 300)
    json.dumps(result.report, allow_nan=False)


def test_a_measure_that_is_not_defined_is_none_in_the_report(run: Runner) -> None:
    source = IterableSource([{"x": 1.0, "y": 5.0}], target="y", task=Task.REGRESSION)
    result = run(Pipeline(source, candidates=CANDIDATES).run)
    assert result.report["served"]["r2"] is None
    assert result.report["served"]["mae"] == 5.0
    json.dumps(result.report, allow_nan=False)


def test_huge_numbers_give_a_report_without_nan(run: Runner) -> None:
    wild = [{"x": i % 7, "y": (-1.0) ** i * 1.7e308} for i in range(300)]
    source = IterableSource(wild, target="y", task=Task.REGRESSION)
    result = run(Pipeline(source, candidates=CANDIDATES).run)
    json.dumps(result.report, allow_nan=False)
    assert np.isfinite(result.model.predict(wild[:5])).all()


def test_if_all_candidates_explode_there_is_a_report_but_no_model(run: Runner) -> None:
    wild = candidate(optimizer="sgd", learning_rate=1e6, activation="relu")
    pipeline = pipeline_of(Playing(stream(Task.REGRESSION, 100)), candidates=[wild])
    with pytest.raises(NoCandidateError):
        run(pipeline.run)
    report = pipeline.report()
    json.dumps(report, allow_nan=False)
    assert report["learned"] == 100
    assert report["candidates"][0]["quarantined"]


def test_a_thousand_blocks_of_one_sample_arrive_one_by_one(run: Runner) -> None:
    sizes: list[int] = []

    async def sensor() -> AsyncIterator[dict[str, Any]]:
        for number, row in enumerate(rows(1000), start=1):
            yield row
            while len(sizes) < number:  # sinks may be called in any thread
                await anyio.lowlevel.checkpoint()

    def sink(block: Served) -> None:
        sizes.append(len(block.serials))

    source = IterableSource(sensor(), target="y")
    result = run(Pipeline(source, candidates=CANDIDATES[:2], seed=4, sinks=[sink]).run)
    assert sizes == [1] * 1000
    at_once = run(
        Pipeline(IterableSource(rows(1000), target="y"), candidates=CANDIDATES[:2], seed=4).run
    )
    assert checksum(result.model) == checksum(at_once.model)
    assert plain(result.report) == plain(at_once.report)


def test_a_sink_may_wait_for_the_event_loop_however_short_its_work_is(run: Runner) -> None:
    """It always has a thread of its own; in the loop it would wait for itself."""
    firsts: list[int] = []

    async def take(first: int) -> None:
        firsts.append(first)

    def sink(served: Served) -> None:
        from_thread.run(take, served.predicted.first)

    source = Playing(stream(Task.REGRESSION, N), largest=20)
    run(pipeline_of(source, sinks=[sink], block_size=20, inline_seconds=10.0).run)
    assert len(firsts) >= N // 20
    assert firsts == sorted(firsts)


def test_statistics_and_board_agree_with_the_report_at_the_end(run: Runner) -> None:
    for task in Task:
        pipeline = pipeline_of(Playing(stream(task, N)))
        assert pipeline.board() is None
        assert pipeline.statistics().champion == ""
        report = run(pipeline.run).report
        board, now = pipeline.board(), pipeline.statistics()
        assert board is not None
        assert (now.samples, now.rejected) == (report["learned"], report["rejected"])
        assert now.switches == report["switches"]
        assert board.status.scored == report["scored"]
        name = "accuracy" if task is Task.CLASSIFICATION else "mae"
        assert board.status.served == pytest.approx(report["served"][name])
        for baseline, value in board.status.baselines.items():
            assert value == pytest.approx(report["baselines"][baseline][name])
        assert [row.candidate for row in board.rows if row.champion] == [
            report["champion"]["candidate"]
        ]
        low, high = (0.0, 1.0) if task is Task.CLASSIFICATION else (0.0, np.inf)
        assert board.curve
        assert all(low <= point <= high for point in board.curve)
