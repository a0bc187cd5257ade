"""The registry: models are created, deleted, and their settings checked."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import from_thread

from streamnet.daemon.hosting.hosted_model import HostedModel
from streamnet.daemon.hosting.registry import Registry, check_settings
from streamnet.durability.files import DISK
from streamnet.errors import (
    ConfigurationError,
    ConflictError,
    DamagedStateError,
    NotReadyError,
    StateError,
)
from streamnet.metrics import windows
from streamnet.modelfiles import json_format
from streamnet.settings.daemon import ModelSettings, parse_model
from tests.conftest import Runner
from tests.daemon.app_client import client_beside, is_problem
from tests.daemon.hosted_models import hosting_all, last_events, learned, rows, settings_of, until
from tests.daemon.stand_ins import learned_model


def there(hosted: HostedModel | None) -> HostedModel:
    assert hosted is not None
    return hosted


def test_models_come_back_unless_they_were_deleted(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        async with hosting_all(tmp_path / "all", fixed=settings_of()) as registry:
            for name in ("spam", "ham"):
                hosted = await registry.create(name, settings_of(run={"seed": 9}))
                await hosted.opened()
                await hosted.learn(rows(30))
                await learned(hosted, 30)
            await registry.delete("ham")
            assert registry.models.get("ham") is None
            with pytest.raises(ConflictError, match="there is no model ham"):
                await registry.delete("ham")
            with pytest.raises(ConflictError, match="model spam already exists"):
                await registry.create("spam", settings_of())
            with pytest.raises(ConflictError, match="model fixed is in the run file"):
                await registry.delete("fixed")
            with pytest.raises(ConfigurationError, match=r"model is '\.\./x', but must be"):
                await registry.create("../x", settings_of())
        with pytest.raises(NotReadyError, match="the daemon is not running"):
            await registry.create("late", settings_of())
        assert not (tmp_path / "all/ham").exists()
        async with hosting_all(tmp_path / "all") as registry:
            assert list(registry.models) == ["spam"]
            spam = there(registry.models.get("spam"))
            assert spam.settings == settings_of(run={"seed": 9})
            await spam.opened()
            await learned(spam, 30)
            again = await registry.create("ham", settings_of())
            await again.opened()
            assert again.status().accepted == 0

    run(main)


def test_a_failed_model_does_not_affect_others(
    run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from streamnet.daemon.hosting.model_run import ModelRun

    started = ModelRun.run

    async def breaking(self: ModelRun, *arguments: Any) -> None:
        if self.pipeline.state is not None and self.pipeline.state.folder.path.parts[-2] == "bad":
            raise RuntimeError("a fault of ours")
        await started(self, *arguments)

    monkeypatch.setattr(ModelRun, "run", breaking)

    async def main() -> None:
        async with hosting_all(tmp_path, bad=settings_of(), good=settings_of()) as registry:
            bad, good = there(registry.models.get("bad")), there(registry.models.get("good"))
            await until(lambda: bad.state == "failed")
            assert bad.failure == "internal error: RuntimeError('a fault of ours')"
            await good.opened()
            await good.learn(rows(20))
            await learned(good, 20)
            kinds = [event.data["state"] for event in last_events(bad, 5)]
            assert kinds[-1] == "failed"

    run(main)


def test_invalid_settings_are_named(run: Runner, tmp_path: Path) -> None:
    folder = tmp_path / "spam"
    folder.mkdir()
    for text, message in (("{", "spam/model.json: "), ("{}", "target is not given")):
        (folder / "model.json").write_text(text)
        with pytest.raises(DamagedStateError, match=message):
            run(Registry(tmp_path).run)


def test_trials_of_a_killed_process_are_removed_and_those_of_a_running_one_are_not(
    run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    young = [".trial-young", "trial-notes", ".other"]

    def checked(settings: ModelSettings, folder: Path) -> None:
        seen.append(folder.name)
        check_settings(settings, folder)

    monkeypatch.setattr("streamnet.daemon.hosting.registry.check_settings", checked)

    async def main() -> None:
        async with hosting_all(tmp_path) as registry:
            await registry.create("spam", settings_of())
        (trial,) = seen  # as it would lie there if the process had been killed just then
        for name in (trial, *young):
            (tmp_path / name).mkdir()
            (tmp_path / name / "start.json").touch()
        old = time.time() - 3700
        for name in (trial, *young[1:]):
            os.utime(tmp_path / name, (old, old))
        async with hosting_all(tmp_path):
            pass

    run(main)
    assert {path.name for path in tmp_path.iterdir()} == {"spam", *young}


def test_folders_that_are_not_models_are_left_alone(run: Runner, tmp_path: Path) -> None:
    (tmp_path / "README.txt").write_text("models of the cellar")
    (tmp_path / "notes").write_text("a file with the name of a model")
    (tmp_path / "empty").mkdir()
    (tmp_path / "lost+found" / "model.json").mkdir(parents=True)  # which can't be read

    async def main() -> None:
        async with hosting_all(tmp_path) as registry:
            assert registry.models == {}
            await registry.create("empty", settings_of())

    run(main)


def test_unreadable_settings_are_named(run: Runner, tmp_path: Path) -> None:
    (tmp_path / "spam" / "model.json").mkdir(parents=True)
    with pytest.raises(StateError, match=r"spam/model\.json: Is a directory"):
        run(Registry(tmp_path).run)


@pytest.mark.parametrize("name", ["file", "file/models"])
def test_a_path_that_is_not_a_folder_is_named(run: Runner, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=f"dir is '.*{name}', but that is not a folder"):
        run(Registry(tmp_path / name).run)


def test_a_model_created_while_the_daemon_stops_starts_with_the_next_one(
    run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with hosting_all(tmp_path / "all") as registry:
            store = registry._store

            def stored_too_late(*arguments: Any) -> ModelSettings:
                settings = store(*arguments)
                from_thread.run_sync(registry.stop)
                return settings

            monkeypatch.setattr(registry, "_store", stored_too_late)
            with pytest.raises(NotReadyError, match="model late starts with the next"):
                await registry.create("late", settings_of())
            assert registry.models.get("late") is None
        async with hosting_all(tmp_path / "all") as registry:
            assert there(registry.models.get("late")).settings == settings_of()

    with_limit(run, main)


def test_a_name_is_free_again_when_its_creation_was_cancelled(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        async with hosting_all(tmp_path / "all") as registry:
            with anyio.CancelScope() as scope:
                scope.cancel()
                await registry.create("spam", settings_of())
            assert scope.cancelled_caught
            assert (await registry.create("spam", settings_of())).name == "spam"

    with_limit(run, main)


def with_limit(run: Runner, main: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        with anyio.fail_after(20):
            await main()

    run(limited)


def test_deletion_is_finished_even_if_its_request_is_cancelled(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        async with hosting_all(tmp_path / "all") as registry:
            await (await registry.create("spam", settings_of())).opened()
            with anyio.CancelScope() as scope:
                scope.cancel()
                await registry.delete("spam")
            assert not (tmp_path / "all/spam").exists()
            await (await registry.create("spam", settings_of())).opened()

    with_limit(run, main)


@pytest.mark.parametrize("removed", ["", "model.json"])
def test_a_model_whose_files_were_removed_can_be_deleted(
    run: Runner, tmp_path: Path, removed: str
) -> None:
    async def main() -> None:
        async with hosting_all(tmp_path / "all") as registry:
            await (await registry.create("spam", settings_of())).opened()
            path = tmp_path / "all/spam" / removed
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            await registry.delete("spam")
            assert not (tmp_path / "all/spam").exists()
            await (await registry.create("spam", settings_of())).opened()

    with_limit(run, main)


def test_a_new_model_inherits_nothing_from_a_deleted_one(run: Runner, tmp_path: Path) -> None:
    (tmp_path / "all/spam/journal").mkdir(parents=True)

    async def main() -> None:
        async with hosting_all(tmp_path / "all") as registry:
            with pytest.raises(ConflictError, match="the remains of a deleted model: remove it"):
                await registry.create("spam", settings_of())

    with_limit(run, main)


def test_one_daemon_at_a_time_uses_a_folder_and_an_unlockable_folder_is_no_obstacle(
    tmp_path: Path,
) -> None:
    folder, file = tmp_path / "all", tmp_path / "file"
    file.touch()
    with Registry(folder).locked():
        told = f"all is in use by process {os.getpid()}: only one may write there"
        with pytest.raises(StateError, match=told), Registry(folder).locked():
            pass
    with Registry(folder).locked(), Registry(file).locked():
        assert file.read_bytes() == b""


def test_a_model_of_another_daemon_is_neither_reset_nor_deleted(
    run: Runner, tmp_path: Path
) -> None:
    async def main() -> None:
        async with hosting_all(tmp_path) as first:
            mine = await first.create("spam", settings_of())
            await mine.opened()
            await mine.learn(rows(20))
            async with hosting_all(tmp_path) as second:
                theirs = there(second.models.get("spam"))
                await until(lambda: theirs.state == "failed")
                with pytest.raises(StateError, match="spam is in use by process"):
                    await theirs.reset()
                await until(lambda: theirs.state == "failed")
                with pytest.raises(StateError, match="spam is in use by process"):
                    await second.delete("spam")
                again = there(second.models.get("spam"))  # it stays, and can be deleted later
                await until(lambda: again.state == "failed")
            await mine.learn(rows(10))
        async with hosting_all(tmp_path) as third:
            await learned(there(third.models.get("spam")), 30)

    run(main)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"population": {"candidates": 10**9}}, "candidates is 1000000000, but must be from 1 to 512"),
    ({"source": {"drop": ["lit"]}}, "drop has 'lit', but that is the target"),
    (
        {"source": {"task": "regression"}, "selection": {"criterion": "accuracy"}},
        "criterion is 'accuracy'",
    ),
]
REFUSED_BESIDE_A_START: list[tuple[dict[str, Any], str]] = [
    ({"source": {"drop": ["x"]}}, "source.drop has 'x', but that is an input of the start"),
    (
        {"source": {"kinds": {"x": "category"}}},
        "source.kinds has 'category' for 'x', but must be 'number', as the start reads it",
    ),
]


def with_target(tables: dict[str, Any]) -> dict[str, Any]:
    return {**tables, "source": {"target": "lit", **tables.get("source", {})}}


@pytest.mark.parametrize(("tables", "message"), REFUSED)
def test_settings_that_can_never_run_create_no_model(
    run: Runner, tmp_path: Path, tables: dict[str, Any], message: str
) -> None:
    async def main() -> None:
        async with hosting_all(tmp_path) as models, client_beside(models) as http:
            body = {"name": "lamp", "settings": with_target(tables)}
            assert is_problem(await http.post("/v1/models", json=body), 422, message)
            assert not DISK.names(tmp_path)
            body["settings"] = with_target({})
            assert (await http.post("/v1/models", json=body)).status_code == 201

    run(main)


@pytest.mark.parametrize(("tables", "message"), REFUSED_BESIDE_A_START)
def test_settings_that_do_not_fit_a_start_create_no_model(
    run: Runner, tmp_path: Path, tables: dict[str, Any], message: str
) -> None:
    async def main() -> None:
        start = ".json", json_format.encode(learned_model().document())
        async with hosting_all(tmp_path) as models:
            with pytest.raises(ConfigurationError) as caught:
                await models.create("lamp", parse_model(with_target(tables)), start)
            assert str(caught.value) == message
            assert not DISK.names(tmp_path)
            same = {"source": {"kinds": {"x": "number"}}}
            await models.create("lamp", parse_model(with_target(same)), start)

    run(main)


def test_settings_need_to_fit_one_task_if_none_is_configured(tmp_path: Path) -> None:
    """A target that is not known yet tells the task: it may be the one that they fit."""
    check_settings(parse_model(with_target({"selection": {"criterion": "mae"}})), tmp_path)


def test_settings_that_need_more_memory_than_there_is_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "validate_windows", lambda *_: None)
    settings = parse_model(with_target({"evaluation": {"window": 10**13}}))
    with pytest.raises(ConfigurationError, match=r"does not fit into memory: Unable to allocate"):
        check_settings(settings, tmp_path)


def test_archives_of_resets_expire_and_a_deletion_leaves_nothing(
    run: Runner, tmp_path: Path
) -> None:
    def holders() -> list[str]:
        """Files that hold a word of the samples."""
        found = []
        for folder, _, names in os.walk(tmp_path):  # goes on where a folder is removed meanwhile
            for path in (Path(folder, name) for name in names):
                with suppress(FileNotFoundError):
                    if b"sesame" in path.read_bytes():
                        found.append(str(path.relative_to(tmp_path)))
        return sorted(found)

    async def main() -> None:
        sample = [{"x": "sesame", "y": "a"}] * 40
        async with hosting_all(tmp_path, spam=settings_of()) as registry:
            hosted = registry.models["spam"]
            await hosted.opened()
            await hosted.learn(sample)
            await hosted.reset()
            await hosted.opened()
            await hosted.learn(sample)
        assert any("old-000001" in name for name in holders())
        os.utime(tmp_path / "spam" / "old-000001", (0, 0))
        registry = Registry(tmp_path, {"spam": settings_of()}, archive_days=30.0)
        async with anyio.create_task_group() as group:
            await group.start(registry.run)
            await until(lambda: not any("old-000001" in name for name in holders()))
            assert holders()  # the journal
            registry.fixed.clear()
            await registry.models["spam"].opened()
            await registry.delete("spam")
            assert not holders()
            registry.stop()

    run(main)
