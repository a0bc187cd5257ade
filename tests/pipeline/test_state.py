"""State on disk: when a checkpoint is due, and what a run keeps and resumes from."""

from __future__ import annotations

from math import inf
from pathlib import Path
from time import sleep
from typing import Any

import anyio
import pytest

from streamnet.durability.state_directory import Generations, StateDirectory
from streamnet.errors import ConfigurationError, DamagedStateError, OutputError, StateError
from streamnet.learning.serving import Served
from streamnet.modelfiles import Model
from streamnet.pipeline import state as module
from streamnet.pipeline.maintenance import read_state_status
from streamnet.pipeline.state import Cadence, State
from streamnet.samples import Task
from tests.conftest import Runner
from tests.durability.disks import Faulty, Memory
from tests.durability.published_models import read_published_model
from tests.learning.streams import stream
from tests.pipeline.block_sources import Playing
from tests.pipeline.interrupted_runs import crashed, finished, go, left, made


class Clock:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def cadence_of(every_samples: int | None, every_seconds: float | None) -> tuple[Cadence, Clock]:
    clock = Clock()
    cadence = Cadence(every_samples=every_samples, every_seconds=every_seconds, clock=clock)
    return cadence, clock


def test_by_samples_a_checkpoint_is_due_as_soon_as_there_are_enough() -> None:
    cadence, _ = cadence_of(100, None)
    assert [cadence.due(n, n) for n in (0, 99, 100)] == [False, False, True]
    cadence.cut(100, 100)
    cadence.done(failed=False)
    assert [cadence.due(n, n) for n in (101, 199, 200)] == [False, False, True]
    assert cadence.seconds_left(150) == inf


def test_by_seconds_a_checkpoint_is_due_only_if_something_is_new() -> None:
    cadence, clock = cadence_of(None, 10.0)
    assert cadence.seconds_left(1) == 10
    clock.now += 10
    assert cadence.seconds_left(0) == inf
    assert [cadence.due(n, n) for n in (0, 1)] == [False, True]
    cadence.cut(1, 1)
    cadence.done(failed=False)
    assert not cadence.due(2, 2)
    assert cadence.seconds_left(2) == 10


def test_rejected_records_count_as_news_but_not_as_samples() -> None:
    cadence, clock = cadence_of(100, 10.0)
    cadence.resume_at(50, 80)
    assert cadence.seconds_left(80) == inf
    assert not cadence.due(50, 1000)
    assert cadence.seconds_left(1000) == 10
    clock.now += 10
    assert [cadence.due(50, n) for n in (80, 1000)] == [False, True]
    cadence.cut(50, 1000)
    cadence.done(failed=False)
    assert cadence.seconds_left(1000) == inf
    assert [cadence.due(n, 2000) for n in (149, 150)] == [False, True]


def test_a_requested_checkpoint_is_due_at_once_even_if_nothing_is_new() -> None:
    cadence, clock = cadence_of(None, 10.0)
    cadence.ask()
    assert cadence.due(0, 0)
    cadence.cut(0, 0)
    cadence.ask()
    assert not cadence.due(0, 0)
    cadence.done(failed=True)
    assert not cadence.due(0, 0)
    clock.now += 1
    assert cadence.due(0, 0)
    cadence.cut(0, 0)
    cadence.done(failed=False)
    assert cadence.seconds_left(0) == inf


def test_only_one_checkpoint_is_pending() -> None:
    cadence, clock = cadence_of(1, 1.0)
    cadence.cut(5, 5)
    clock.now += 100
    assert not cadence.due(1000, 1000)
    assert 0 < cadence.seconds_left(1000) < 1
    cadence.done(failed=False)
    assert cadence.due(1000, 1000)


def test_failures_are_retried_at_growing_intervals_with_or_without_new_samples() -> None:
    cadence, clock = cadence_of(1, None)
    waits = []
    for _ in range(9):
        cadence.cut(7, 7)
        cadence.done(failed=True)
        assert not cadence.due(8, 8)
        waits.append(cadence.seconds_left(7))
        clock.now += waits[-1]
        assert cadence.due(7, 7)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    cadence.cut(7, 7)
    cadence.done(failed=False)
    assert (cadence.failures, cadence.due(7, 7), cadence.due(8, 8)) == (0, False, True)


def test_counting_resumes_from_a_durable_checkpoint() -> None:
    cadence, _ = cadence_of(100, None)
    cadence.resume_at(1000, 1000)
    assert [cadence.due(n, n) for n in (1000, 1099, 1100)] == [False, False, True]


@pytest.mark.parametrize(
    ("samples", "seconds", "message"),
    [(0, None, "every_samples is 0, but must be >= 1"), (None, 0.0, "every_seconds is 0.0, but")],
)
def test_invalid_intervals_are_refused(
    samples: int | None, seconds: float | None, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        cadence_of(samples, seconds)


TASK = Task.CLASSIFICATION


def newest(folder: Path) -> dict[str, Any]:
    loaded = StateDirectory(folder / "state").generations.newest()
    assert loaded is not None
    return loaded.tree


# ------------------------------------------------------------------ beginnings


def test_a_state_is_durable_before_the_first_sample_is_used(tmp_path: Path) -> None:
    crashed(tmp_path, 0, state={"every_samples": None}, largest=1)
    assert newest(tmp_path)["reading"] == {
        "position": None,
        "records": 0,
        "number": 0,
        "source": {},
    }


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"seed": 5}, "seed is 5, but was 4"),
        ({"round_size": 64}, "round_size is 64, but was 128"),
        ({"window": 51}, "window is 51, but was 50"),
        ({"dtype": "float64"}, "dtype is float64, but was float32"),
        ({"encoder": {"max_classes": 5}}, "encoder.max_classes is 5, but was 4"),
        ({"candidates": None}, "candidates.count is 23, but was 4"),
    ],
)
def test_a_changed_setting_is_refused_by_its_name(
    tmp_path: Path, setting: dict[str, Any], message: str
) -> None:
    crashed(tmp_path, 300)
    with pytest.raises(StateError, match=message):
        go(made(tmp_path, TASK, **setting))
    go(made(tmp_path, TASK, block_size=3, threads=1))


def test_a_setting_that_was_absent_may_not_be_given_on_resume(tmp_path: Path) -> None:
    crashed(tmp_path, 300)
    others: dict[str, Any] = {"serve": "champion", "alpha": 0.5, "fading": 0.9, "drift": "none"}
    for name, value in others.items():
        with pytest.raises(StateError, match=f"{name} is {value}, but was "):
            go(made(tmp_path, TASK, **{name: value}))
    go(made(tmp_path, TASK, serve="ensemble", alpha=0.05))


def test_another_task_is_refused(tmp_path: Path) -> None:
    crashed(tmp_path, 300)
    with pytest.raises(StateError, match="task is regression, but was classification"):
        go(made(tmp_path, Task.REGRESSION))


def test_an_existing_state_is_refused_without_resume(tmp_path: Path) -> None:
    go(made(tmp_path, TASK, state={"resume": False}))
    with pytest.raises(StateError, match="holds an earlier run"):
        go(made(tmp_path, TASK, state={"resume": False}))


def test_a_directory_in_use_is_refused_and_left_alone(tmp_path: Path) -> None:
    async def two() -> None:
        source = Playing(stream(TASK, 300), ends=False)
        async with made(tmp_path, TASK, source=source):
            await source.waits.wait()
            assert read_state_status(tmp_path / "state").writer.startswith("process ")
            with pytest.raises(StateError, match="in use by process"):
                await made(tmp_path, TASK).run()

    anyio.run(two)
    assert newest(tmp_path)["reading"]["number"] == 300
    assert read_state_status(tmp_path / "state").writer == ""


def test_a_run_whose_directory_was_replaced_ends_and_leaves_the_other_one_alone(
    tmp_path: Path,
) -> None:
    other = StateDirectory(tmp_path / "state")
    aside = tmp_path / "aside"

    def replace(served: Served) -> None:
        if served.predicted.first >= 500 and not aside.exists():
            sleep(1)  # no checkpoint comes past here, and one that is being written is done by then
            other.path.rename(aside)
            other.open()  # as a run that begins anew does

    pipeline = made(tmp_path, TASK, largest=20)
    pipeline.sinks.append(replace)
    with pytest.raises(StateError, match=r"state/lock was replaced: another process may write"):
        go(pipeline)
    assert (other.generations.numbers(), other.publisher.names()) == ([], [])
    assert 0 < read_state_status(aside).parts[""].counts["learned"] < 1000
    other.close()


def test_other_numerics_are_logged_and_do_not_stop_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    crashed(tmp_path, 300)
    monkeypatch.setattr(module, "numerics", lambda: {"numpy": "0.1"})
    go(made(tmp_path, TASK))
    assert "numpy is 0.1, but was" in caplog.text
    assert "bits may differ" in caplog.text


def test_a_damaged_newest_checkpoint_is_logged_and_the_one_before_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    crashed(tmp_path, 700)
    files = sorted((tmp_path / "state/checkpoints").iterdir())
    assert len(files) >= 2
    files[-1].write_bytes(files[-1].read_bytes()[:-1])
    pipeline = made(tmp_path, TASK)
    go(pipeline)
    assert f"going on from generation {int(files[-2].stem)}" in caplog.text
    expected = finished(tmp_path / "other", TASK)
    assert left(tmp_path, pipeline) == expected


def test_if_all_checkpoints_are_damaged_it_is_an_error_and_nothing_is_changed(
    tmp_path: Path,
) -> None:
    crashed(tmp_path, 700)
    for file in (tmp_path / "state/checkpoints").iterdir():
        file.write_bytes(b"")
    before = (tmp_path / "predictions.csv").read_bytes()
    with pytest.raises(DamagedStateError, match="no generation"):
        go(made(tmp_path, TASK))
    assert (tmp_path / "predictions.csv").read_bytes() == before


def test_a_checkpoint_may_be_requested_at_any_time(run: Runner, tmp_path: Path) -> None:
    pipeline = made(tmp_path, TASK, state={"every_samples": None})

    async def main() -> None:
        async with anyio.create_task_group() as group:

            async def ask() -> None:
                while True:
                    pipeline.checkpoint()
                    await anyio.sleep(0.002)

            group.start_soon(ask)
            await pipeline.run()
            group.cancel_scope.cancel()

    run(main)
    expected = finished(tmp_path / "other", TASK)
    assert left(tmp_path, pipeline) == expected
    assert len(list((tmp_path / "state/checkpoints").iterdir())) == 3


@pytest.mark.parametrize("content", [b"", b"something of somebody else\n" * 5000])
def test_another_file_in_place_of_an_output_is_an_error_and_left_alone(
    tmp_path: Path, content: bytes
) -> None:
    crashed(tmp_path, 700)
    (tmp_path / "predictions.csv").write_bytes(content)
    with pytest.raises(StateError, match="is not the file that had"):
        go(made(tmp_path, TASK))
    assert (tmp_path / "predictions.csv").read_bytes() == content


@pytest.mark.parametrize(
    ("setting", "message"),
    [({"generations": 2}, "generations is 2"), ({"models": 0}, "models is 0")],
)
def test_numbers_out_of_range_are_refused(
    tmp_path: Path, setting: dict[str, int], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        State(tmp_path, **setting)  # type: ignore[arg-type]


# ------------------------------------------------------------------- time


def test_a_quiet_source_gets_checkpoints_by_time(tmp_path: Path, backend: str) -> None:
    async def wait() -> None:
        source = Playing(stream(TASK, 100), ends=False)
        state = {"every_samples": None, "every_seconds": 0.05}
        async with made(tmp_path, TASK, source=source, state=state) as pipeline:
            await source.waits.wait()
            assert pipeline.state is not None
            with anyio.fail_after(10):
                while pipeline.state.statistics().samples < 100:  # noqa: ASYNC110 - no event tells
                    await anyio.sleep(0.01)
            generation = pipeline.state.statistics().generation
            await anyio.sleep(0.2)
            # Nothing new, so nothing is written.
            assert pipeline.state.statistics().generation == generation

    anyio.run(wait, backend=backend)


# -------------------------------------------------------------------- models


def test_emitted_models_are_bounded_in_number_and_name_their_origin(tmp_path: Path) -> None:
    pipeline = made(tmp_path, TASK, samples=2600, state={"models": 2}, fading=0.9, alpha=1.0)
    go(pipeline)
    folder = tmp_path / "state" / "models"
    assert len(list(folder.glob("*.safetensors"))) <= 2
    found = read_published_model(folder)
    assert found is not None
    assert pipeline.state is not None
    model = Model.load(folder / found[0].file)
    assert model.about["lineage"] == found[0].lineage == pipeline.state.lineage
    assert model.about["generation"] == found[0].generation == pipeline.state.emitted > 2
    assert model.about["samples"] == found[0].samples
    assert model.about["target"] == "y"


# ------------------------------------------------------------ disks that fail


class Sick(Memory):
    """A disk that is full, or fails otherwise, while a test says so."""

    def __init__(self, error: int) -> None:
        super().__init__()
        self.error = error
        self.is_sick = False

    def _check(self) -> None:
        if self.is_sick:
            raise OSError(self.error, "sick")

    def write(self, handle: int, data: bytes) -> int:
        self._check()
        return super().write(handle, data)

    def open_new(self, path: Path) -> int:
        self._check()
        return super().open_new(path)


@pytest.mark.parametrize("error", [28, 5, 30], ids=["ENOSPC", "EIO", "EROFS"])
def test_learning_goes_on_when_the_disk_fails_and_the_state_recovers_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: int
) -> None:
    from streamnet.pipeline import state as store

    monkeypatch.setattr(store, "_MIN_RETRY_SECONDS", 0.01)
    disk = Sick(error)
    failures = 0

    def weather(served: Any) -> None:
        nonlocal failures
        first = served.predicted.first
        assert pipeline.state is not None
        failures = max(failures, pipeline.state.statistics().failures)
        disk.is_sick = first >= 100 and (first < 500 or not failures)

    pipeline = made(tmp_path, TASK, largest=20, state={"files": disk})
    pipeline.sinks.append(weather)
    go(pipeline)
    assert pipeline.state is not None
    statistics = pipeline.state.statistics()
    assert failures
    assert (statistics.error, statistics.failures) == ("", 0)
    assert "sick; learning continues" in caplog.text
    assert "written again" in caplog.text
    # What the disk holds is what an uninterrupted run on a sound disk leaves.
    expected = finished(tmp_path / "sound", TASK)
    assert disk.read(tmp_path / "predictions.csv") == expected.predictions
    assert disk.read(tmp_path / "rejected.jsonl") == expected.letters
    loaded = StateDirectory(tmp_path / "state", files=disk).generations.newest()
    assert loaded is not None
    assert loaded.tree["ledger"]["value"] == expected.ledger


def test_a_disk_that_stays_full_stops_nothing_and_leaves_the_last_good_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FINAL_RETRY_SECONDS", 0.0)
    disk = Memory()
    files = Faulty(disk, 60, "ENOSPC", times=10**9)
    pipeline = made(tmp_path, TASK, largest=20, state={"files": files})
    with pytest.raises(OutputError, match="ENOSPC"):
        go(pipeline)
    assert pipeline.learner is not None
    assert pipeline.learner.trainer.number > 1000
    loaded = StateDirectory(tmp_path / "state", files=disk).generations.newest()
    assert loaded is not None


def test_a_state_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    files = Faulty(Memory(), 0, "ENOSPC", times=10**9)
    with pytest.raises((StateError, ConfigurationError), match="ENOSPC"):
        go(made(tmp_path, TASK, state={"files": files}))


# ------------------------------------------------------------------ standing


def test_the_status_accounts_for_every_record_and_shows_the_limits(tmp_path: Path) -> None:
    pipeline = made(tmp_path, TASK)
    go(pipeline)
    standing = read_state_status(tmp_path / "state").parts[""]
    assert standing.counts["read"] == standing.counts["learned"] + standing.counts["rejected"]
    report = pipeline.report()
    assert standing.counts == {
        "read": report["samples"],
        "learned": report["learned"],
        "rejected": report["rejected"],
    }
    caps = {cap.name: (cap.used, cap.most) for cap in standing.caps}
    assert caps["classes"] == (4, 4)
    assert caps["categories of w"][0] == 6
    assert caps["samples for rehearsal"] == (50, 50)
    assert caps["changes of champion"] == (len(report["last_switches"]), 100)
    assert caps["drifts"] == (len(report["last_drifts"]), 100)
    used, most = caps["rejected of the last records"]
    assert 0 < used <= report["rejected"]
    assert most == 1000
    assert caps["fields"] == (3, 4096)
    assert all(used <= most for used, most in caps.values())


@pytest.mark.parametrize("at", ["size", "load"])
def test_a_generation_that_a_run_removes_meanwhile_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    crashed(tmp_path, 700)
    folder = StateDirectory(tmp_path / "state").generations
    oldest, *others = folder.numbers()
    look = getattr(Generations, at)

    def removing(generations: Generations, number: int) -> Any:
        if number == oldest:
            (folder.folder / f"{number:012d}.checkpoint").unlink()
        return look(generations, number)

    monkeypatch.setattr(Generations, at, removing)
    views = read_state_status(tmp_path / "state").generations
    assert [(view.number, view.damage) for view in views] == [(n, "") for n in others[::-1]]


def test_a_folder_without_a_state_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="holds no state"):
        read_state_status(tmp_path)
