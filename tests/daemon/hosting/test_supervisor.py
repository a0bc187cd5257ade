"""Supervision: what ends a run of a model, what starts the next, pauses, resets and archives."""

from __future__ import annotations

import errno
import shutil
import threading
from functools import partial
from pathlib import Path
from time import sleep
from typing import Any

import anyio
import pytest
from anyio import from_thread

from streamnet.client.schemas import Outcome
from streamnet.daemon.hosting import supervisor
from streamnet.daemon.hosting.hosted_model import HostedModel
from streamnet.daemon.hosting.supervisor import archive_state
from streamnet.daemon.journal.segments import Journal
from streamnet.durability.files import write_durably
from streamnet.errors import ClosedError, NotReadyError, OutputError, StreamnetError
from streamnet.learning.warmup import warm_up
from streamnet.metrics import windows
from streamnet.modelfiles import json_format
from streamnet.pipeline import pipeline
from streamnet.settings.daemon import ModelSettings, parse_model
from tests.conftest import Runner
from tests.daemon.app_client import client_beside, is_problem
from tests.daemon.hosted_models import hosting, hosting_all, learned, left, rows, settings_of, until
from tests.daemon.stand_ins import learned_model


def test_a_reset_starts_over_and_archives_or_deletes_the_old_state(
    run: Runner, tmp_path: Path
) -> None:
    async def main() -> None:
        async with hosting(tmp_path) as hosted:
            await hosted.learn(rows(100), key="k")
            await learned(hosted, 100)
            await hosted.reset()
            assert hosted.status().accepted == 0
            assert not (await hosted.learn(rows(50), key="k")).duplicate
            await learned(hosted, 50)
            await hosted.reset(keep_old=False)
            assert hosted.status().accepted == 0
        with pytest.raises(NotReadyError, match="model spam is stopped"):
            await hosted.reset()

    run(main)
    assert [path.name for path in tmp_path.glob("old*")] == ["old-000001"]
    assert left(tmp_path / "old-000001")[0] == 100


def test_concurrent_resets_are_one_that_archives_if_any_does(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        async with hosting(tmp_path) as hosted:
            await hosted.learn(rows(100))
            await learned(hosted, 100)
            with anyio.fail_after(20):
                async with anyio.create_task_group() as group:
                    for keep_old in (False, True, False):
                        group.start_soon(partial(hosted.reset, keep_old=keep_old))
            assert hosted.status().accepted == 0
            assert hosted.state == "learning"

    run(main)
    assert [path.name for path in tmp_path.glob("old*")] == ["old-000001"]


def test_a_failed_reset_is_reported_and_the_model_can_be_stopped_or_reset_again(
    run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clear = archive_state
    stopping: list[HostedModel] = []

    def full(*_: object, **__: object) -> None:
        for hosted in stopping:
            from_thread.run_sync(hosted.stop)
        raise OSError(errno.ENOSPC, "No space left on device")

    async def main() -> None:
        async with hosting(tmp_path) as hosted:
            await hosted.learn(rows(50), key="k")
            await hosted.learn(rows(50, 50))
            monkeypatch.setattr(supervisor, "archive_state", full)
            with pytest.raises(OutputError, match="No space left on device"):
                await hosted.reset()
            with anyio.fail_after(20):
                await hosted.opened()  # it lives on as it was, without being resumed
                await learned(hosted, 100)
            assert (hosted.state, hosted.failure) == ("learning", None)
            assert (await hosted.learn(rows(50), key="k")).duplicate
            monkeypatch.setattr(supervisor, "archive_state", clear)
            await hosted.reset()
            assert hosted.state == "learning"
            monkeypatch.setattr(supervisor, "archive_state", full)
            stopping.append(hosted)
            with anyio.fail_after(20), pytest.raises(OutputError):
                await hosted.reset()
            with anyio.fail_after(20):
                await until(lambda: hosted.state == "stopped")

    run(main)


def test_waiting_for_a_first_model_ends_when_none_will_come(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        with anyio.fail_after(20):
            await stopped_while_one_waits()

    async def stopped_while_one_waits() -> None:
        async with anyio.create_task_group() as group, hosting(tmp_path) as hosted:
            waiting = anyio.Event()

            async def wait() -> None:
                waiting.set()
                with pytest.raises(NotReadyError, match="model spam is stopped"):
                    await hosted.published()

            group.start_soon(wait)
            await waiting.wait()
            await hosted.reset()  # a new life may still bring one
            await anyio.wait_all_tasks_blocked()

    run(main)


def test_settings_that_do_not_affect_learning_may_change_at_a_restart(
    run: Runner, tmp_path: Path
) -> None:
    async def main() -> None:
        async with hosting(tmp_path) as hosted:
            await hosted.learn(rows(100))
            await learned(hosted, 100)
        other = settings_of(source={"max_rejected": 0.5})
        async with hosting(tmp_path, other) as hosted:
            await until(lambda: hosted.state != "starting")
            assert (hosted.state, hosted.failure) == ("learning", None)

    run(main)


def test_a_failure_is_reported_and_settings_of_others_are_refused(
    run: Runner, tmp_path: Path
) -> None:
    async def main() -> None:
        async with hosting(tmp_path) as hosted:
            await hosted.learn(rows(100))
            await learned(hosted, 100)
        other = settings_of(run={"seed": 4})
        async with hosting(tmp_path, other) as hosted:
            await until(lambda: hosted.state == "failed")
            assert "can't be resumed: seed" in str(hosted.failure)
            assert hosted.status().failure == hosted.failure
            with pytest.raises(NotReadyError, match="model spam is failed: the state in"):
                await hosted.learn(rows(1))
            await hosted.resume()
            await until(lambda: hosted.state == "failed")
            await hosted.reset()
            await hosted.learn(rows(10))
            await learned(hosted, 10)
            assert hosted.failure is None
        async with hosting(tmp_path, other), hosting(tmp_path, other) as second:
            assert second.state == "failed"
            assert "only one may write there" in str(second.failure)

    run(main)


def test_a_model_that_does_not_fit_into_memory_says_so(
    run: Runner, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "validate_windows", lambda *_: None)

    async def main() -> None:
        async with hosting(tmp_path, settings_of(evaluation={"window": 10**13})) as hosted:
            await hosted.learn(rows(1))
            await until(lambda: hosted.state == "failed")
            told = "out of memory: Unable to allocate"
            assert str(hosted.failure).startswith(told)

    run(main)
    assert "Traceback" not in caplog.text


def test_a_model_of_another_process_is_not_paused(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        async with hosting_all(tmp_path) as owners:
            await owners.create("spam", settings_of())
            await owners.models["spam"].opened()
            async with hosting_all(tmp_path) as others, client_beside(others) as http:
                await others.models["spam"].opened()
                refused = await http.post("/v1/models/spam/pause")
                assert is_problem(refused, 409, "is in use by process", "only one may write")
                assert others.models["spam"].state == "failed"
            assert not (tmp_path / "spam" / "paused").exists()
        async with hosting_all(tmp_path) as models:
            await models.models["spam"].opened()
            assert models.models["spam"].state == "learning"

    run(main)


def test_a_failed_model_can_be_paused_for_its_next_start(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "journal").touch()
        async with hosting(tmp_path) as hosted:
            assert hosted.state == "failed"
            await hosted.pause()
            assert (tmp_path / "paused").exists()
            (tmp_path / "journal").unlink()
        async with hosting(tmp_path) as hosted:
            assert hosted.state == "paused"

    run(main)


def test_concurrent_resumes_of_a_failed_model_wait_for_its_next_run(
    run: Runner, tmp_path: Path
) -> None:
    async def main() -> None:
        (tmp_path / "journal").touch()
        async with hosting(tmp_path) as hosted:
            lives = hosted.run_count
            await hosted.resume()
            assert (hosted.state, hosted.run_count) == ("failed", lives + 1)
            (tmp_path / "journal").unlink()
            states: list[str] = []

            async def resume() -> None:
                await hosted.resume()
                states.append(hosted.state)

            with anyio.fail_after(20):
                async with anyio.create_task_group() as group:
                    for _ in range(3):
                        group.start_soon(resume)
            assert states == ["learning"] * 3

    run(main)


def test_senders_of_a_failing_model_get_an_error_and_none_waits(
    run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is slow, so that many wait for it when the pipeline fails."""
    sync = Journal.sync

    def slowly(journal: Journal) -> None:
        sleep(0.02)
        sync(journal)

    monkeypatch.setattr(Journal, "sync", slowly)
    limits = {"target": "y", "max_rejected": 0.1, "rejected_window": 10}

    async def main() -> None:
        told: list[StreamnetError] = []
        async with hosting(tmp_path, settings_of(source=limits)) as hosted:
            await hosted.learn(rows(50))

            async def send(number: int) -> None:
                line = b'{"x": 1, "y": "a"}\n' if number % 2 else b'{"x" 1, broken}\n'
                while True:
                    try:
                        await hosted.learn(line, durable=True)
                    except (ClosedError, NotReadyError) as error:
                        told.append(error)
                        return

            with anyio.fail_after(30):
                async with anyio.create_task_group() as group:
                    for number in range(40):
                        group.start_soon(send, number)
            assert len(told) == 40
            await until(lambda: hosted.state == "failed")

    run(main)


def test_outcomes_stay_what_they_were_under_other_bounds(run: Runner, tmp_path: Path) -> None:
    def bounded(**bounds: float) -> ModelSettings:
        return settings_of(intake={"publish_seconds": 0.05, **bounds})

    async def main() -> None:
        async with hosting(tmp_path, bounded(max_pending=1000)) as hosted:
            await hosted.learn(rows(100))
            await learned(hosted, 100)
            await hosted.published()
            samples = [{"x": 0.5, "w": "u"}] * 50
            ids = [str(number) for number in range(50)]
            await hosted.remember(ids, samples, hosted.predict(samples))
            labels = [(identity, "a") for identity in ids]
            assert await hosted.label(labels) == [Outcome.JOINED] * 50
            await learned(hosted, 150)
            before = hosted.status()
        for max_pending in (5, 1000):
            async with hosting(tmp_path, bounded(max_pending=max_pending)) as hosted:
                await learned(hosted, 150)
                after = hosted.status()
                for name in ("accepted", "outcomes", "in_flight"):
                    assert getattr(after, name) == getattr(before, name), name

    run(main)


@pytest.mark.parametrize("start", [False, True], ids=["state", "start"])
def test_a_model_is_ready_once_its_old_state_predicts_and_accepts_samples_before(
    run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: bool
) -> None:
    may_go_on = threading.Event()

    def held_up(*arguments: Any, **more: Any) -> bool:
        assert may_go_on.wait(60)
        return warm_up(*arguments, **more)

    async def begun() -> None:
        async with hosting_all(tmp_path) as models:
            if start:
                file = json_format.encode(learned_model().document())
                settings = parse_model({"source": {"target": "lit"}})
                spam = await models.create("spam", settings, (".json", file))
            else:
                spam = await models.create("spam", settings_of())
                await spam.opened()
                assert spam.state == "learning"
                await spam.learn(rows(40))
            await spam.published()

    async def restored() -> None:
        monkeypatch.setattr(pipeline, "warm_up", held_up)
        async with hosting_all(tmp_path) as models, client_beside(models) as http:
            spam = models.models["spam"]
            await spam.opened()
            assert spam.state == "starting"
            ready = await http.get("/readyz")
            assert (ready.status_code, ready.json()) == (503, {"status": "starting"})
            predict = {"sample": {"x": 0.5}}
            early = [
                await http.post("/v1/models/spam/predict", json=predict),
                await http.get("/v1/models/spam/champion"),
            ]
            for answer in early:
                assert is_problem(answer, 503, "is being restored")
            assert {answer.headers["retry-after"] for answer in (ready, *early)} == {"1"}
            taken = await http.post("/v1/models/spam/samples", json={"samples": rows(3)})
            assert taken.status_code == 200
            may_go_on.set()
            await until(lambda: spam.state == "learning")
            assert (await http.get("/readyz")).status_code == 200
            assert (await http.post("/v1/models/spam/predict", json=predict)).status_code == 200

    run(begun)
    run(restored)


def test_a_paused_model_predicts_after_a_restart(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        async with hosting(tmp_path) as hosted:
            await hosted.learn(rows(40))
            await hosted.published()
            await hosted.pause()
        async with hosting(tmp_path) as hosted:
            await until(lambda: hosted.state == "paused")
            assert hosted.predict(rows(1)).generation > 0

    run(main)


def test_pausing_and_resuming_twice_at_once_is_allowed(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        async with hosting(tmp_path) as hosted:
            for verb in (hosted.pause, hosted.resume):
                async with anyio.create_task_group() as group:
                    for _ in range(3):
                        group.start_soon(verb)
            assert hosted.state == "learning"
        with pytest.raises(NotReadyError):
            await hosted.pause()

    run(main)


def test_pausing_a_deleted_model_does_not_affect_the_next_one_of_its_name(
    run: Runner, tmp_path: Path
) -> None:
    async def main() -> None:
        hosted = HostedModel("spam", settings_of(), tmp_path / "spam")
        async with anyio.create_task_group() as group:
            group.start_soon(refused, hosted)
            await anyio.wait_all_tasks_blocked()
            hosted.stop()  # before it could be opened
            group.start_soon(hosted.run)
        assert not (tmp_path / "spam").exists()

    async def refused(hosted: HostedModel) -> None:
        with pytest.raises(NotReadyError, match=r"^model spam is stopped$"):
            await hosted.pause()

    run(main)


def test_a_model_may_stop_while_its_pause_is_recorded(
    run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noting, noted = threading.Event(), threading.Event()

    def slowly(*arguments: Any, **more: Any) -> None:
        noting.set()
        sleep(0.5)
        write_durably(*arguments, **more)
        noted.set()

    async def main() -> None:
        monkeypatch.setattr(supervisor, "write_durably", slowly)
        async with hosting_all(tmp_path) as models, anyio.create_task_group() as group:
            hosted = await models.create("spam", settings_of())
            await hosted.opened()
            group.start_soon(hosted.pause)
            await until(noting.is_set)
            await models.delete("spam")
            assert noted.is_set()
            assert not (tmp_path / "spam").exists()

    run(main)


def test_a_reset_interrupted_by_a_crash_is_finished(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        async with hosting(tmp_path) as hosted:
            await hosted.learn(rows(100))
            await learned(hosted, 100)
        (tmp_path / "old-000001").mkdir()
        (tmp_path / "state").rename(tmp_path / "old-000001/state")
        async with hosting(tmp_path) as hosted:
            assert hosted.status().accepted == 0
        assert left(tmp_path / "old-000001")[0] == 100
        assert (tmp_path / "old-000001/journal").exists()

    run(main)


def test_resets_keep_the_last_three_archives_and_renamed_ones(run: Runner, tmp_path: Path) -> None:
    (tmp_path / "old-000001-to-keep/state").mkdir(parents=True)

    async def main() -> None:
        async with hosting(tmp_path) as hosted:
            for count in range(1, 6):
                await hosted.learn(rows(count))
                await learned(hosted, count)
                await hosted.reset()
            await hosted.learn(rows(6))
            await learned(hosted, 6)

    run(main)
    kept = [f"old-{number:06d}" for number in (3, 4, 5)]
    old = sorted(path.name for path in tmp_path.glob("old-*"))
    assert old == ["old-000001-to-keep", *kept]
    assert [left(tmp_path / name)[0] for name in kept] == [3, 4, 5]
    assert left(tmp_path)[0] == 6


def test_resets_of_an_empty_model_remove_no_archive(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    archive_state(tmp_path, keep=True)
    (tmp_path / "old-000002").mkdir()  # as a crash leaves it
    for _ in range(3):
        archive_state(tmp_path, keep=True)
    assert (tmp_path / "old-000001/state").exists()
    assert len(list(tmp_path.glob("old-*"))) == 2
    for _ in range(2):
        (tmp_path / "state").mkdir()
        archive_state(tmp_path, keep=True)
    kept = sorted(path.parent.name[-1] for path in tmp_path.glob("old-*/state"))
    assert kept == ["1", "3", "4"]


def test_a_state_that_cannot_be_archived_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("state", "journal"):
        (tmp_path / name).mkdir()
    rename = Path.rename

    def refused(path: Path, target: Path) -> Path:
        if path.name == "journal":
            raise OSError(errno.EACCES, "Permission denied")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(OSError, match="Permission denied"):
        archive_state(tmp_path, keep=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["journal", "state"]


def test_an_old_state_that_cannot_be_removed_does_not_prevent_a_reset(
    run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 4):
        (tmp_path / f"old-{number:06d}/state").mkdir(parents=True)

    def refused(*_: object) -> None:
        raise OSError(errno.EACCES, "Permission denied")

    async def main() -> None:
        async with hosting(tmp_path) as hosted:
            with monkeypatch.context() as patched:
                patched.setattr(shutil, "rmtree", refused)
                await hosted.reset()
            assert hosted.state == "learning"
            await hosted.reset()

    run(main)
    assert [path.name[-1] for path in sorted(tmp_path.glob("old-*"))] == ["3", "4", "5"]


def test_an_interrupted_removal_removes_nothing_newer(
    run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal of the life behind it must not be taken for one that was left to be moved."""
    remove = shutil.rmtree

    def only_once(path: Path) -> None:
        monkeypatch.setattr(shutil, "rmtree", refused)
        remove(path / "journal" if (path / "journal").exists() else path)

    def refused(_: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    async def main() -> None:
        async with hosting(tmp_path) as hosted:
            await hosted.learn(rows(100))
            await learned(hosted, 100)
            monkeypatch.setattr(shutil, "rmtree", only_once)
            await hosted.reset(keep_old=False)
            await hosted.opened()
            await hosted.learn(rows(7))
        remove(tmp_path / "state")  # as if it had ended before its first checkpoint
        async with hosting(tmp_path) as hosted:
            assert hosted.status().accepted == 7

    run(main)
