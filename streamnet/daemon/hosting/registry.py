"""The registry of all models in a daemon."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, final

from anyio import TASK_STATUS_IGNORED, CancelScope, Event, create_task_group, to_thread
from anyio.abc import TaskGroup, TaskStatus
from msgspec import DecodeError, json

from streamnet.daemon.hosting.events import EventLog
from streamnet.daemon.hosting.hosted_model import HostedModel
from streamnet.daemon.hosting.model_run import ModelRun
from streamnet.daemon.journal.delayed_labels import now
from streamnet.durability.files import DISK, FileSystem, write_durably
from streamnet.durability.state_directory import WriterLock
from streamnet.errors import (
    ConfigurationError,
    ConflictError,
    DamagedStateError,
    NotReadyError,
    OutputError,
    StateError,
)
from streamnet.learning.learner import Learner
from streamnet.runs.builder import encoder_arguments, network_arguments, search_arguments
from streamnet.samples import Task
from streamnet.settings.daemon import MODEL_NAME, ModelSettings, check_model_name, parse_model

__all__ = (
    "Registry",
    "check_settings",
)


def check_settings(settings: ModelSettings, folder: Path) -> None:
    """Refuse settings with which no model could ever learn.

    Args:
        settings: Of the model.
        folder: An empty one, to be thrown away.

    Raises:
        ConfigurationError: If they contradict each other, fit no task, or don't fit into memory.
        ModelFileError: If the start can't be read.

    >>> import tempfile
    >>> from streamnet.settings.daemon import model_settings
    >>> tables = {"source": {"target": "y"}, "population": {"candidates": 1000}}
    >>> check_settings(model_settings(tables), Path(tempfile.mkdtemp()))
    Traceback (most recent call last):
    streamnet.errors.ConfigurationError: candidates is 1000, but must be from 1 to 512
    """
    try:
        networks = network_arguments(settings)
        ModelRun(folder, settings, networks, EventLog())
        start = networks.get("start")
        told = settings.source.task or (start and start.task)
        _check_tasks(settings, networks, tuple(Task) if told is None else (told,))
    except MemoryError as error:
        raise ConfigurationError(f"a model like this does not fit into memory: {error}") from error


def _check_tasks(
    settings: ModelSettings, networks: Mapping[str, Any], tasks: tuple[Task, ...]
) -> None:
    """Find out whether one of the tasks could be learned: the target's values tell which it is."""
    errors = []
    for task in tasks:
        try:
            Learner(
                task=task,
                evolution=search_arguments(settings),
                **settings.evaluation.given(),
                **settings.selection.given(),
                **encoder_arguments(settings),
                **networks,
            )
        except ConfigurationError as error:
            errors.append(error)
    if len(errors) == len(tasks):
        raise errors[0]


SETTINGS_FILE = "model.json"
TRIAL_PREFIX = ".trial-"  # begins the name of a folder in which a model is tried before it is made
_STALE_SECONDS = 3600.0  # seconds after which no process is at work any more in such a one
LOCK_FILE = ".lock"  # no model can be called so
START_FILE = "start"  # its file, with the suffix of its format; and its name in the settings


@final
class Registry:
    """Runs models side by side; one that fails leaves the others alone.

    A model lives in the folder of its name. One that was made while the daemon ran has its settings
    there, too, and comes back at the next start.

    Args:
        folder: Where the models' folders are; made if it is absent.
        fixed: Models of the run file: they can't be deleted.
        files: The file system.

    Attributes:
        models: Those that run, by name.
        fixed: Settings of those of the run file.

    Raises:
        ConfigurationError: If a name can't be that of a model.

    >>> import anyio, tempfile
    >>> async def main():
    ...     registry = Registry(Path(tempfile.mkdtemp()))
    ...     async with anyio.create_task_group() as group:
    ...         await group.start(registry.run)
    ...         await registry.create("spam", parse_model({"source": {"target": "y"}}))
    ...         names = list(registry.models)
    ...         await registry.delete("spam")
    ...         registry.stop()
    ...     return names, list(registry.models)
    >>> anyio.run(main)
    (['spam'], [])
    """

    def __init__(
        self,
        folder: Path,
        fixed: Mapping[str, ModelSettings] | None = None,
        *,
        files: FileSystem = DISK,
    ) -> None:
        self.folder = folder
        self.models: dict[str, HostedModel] = {}
        self.fixed = dict(fixed or {})
        self._files = files
        self._group: TaskGroup | None = None
        self._ended: dict[str, Event] = {}  # also of models that are being made or deleted
        self._stopping = Event()
        for name in self.fixed:
            check_model_name(name)

    def get(self, name: str) -> HostedModel | None:
        """The model of that name, None if there is none."""
        return self.models.get(name)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other daemons away from the folder, which is made if it is absent.

        Raises:
            StateError: If another one is at it.
        """
        lock = None
        # `run` tells what is wrong. Models have locks of their own, and wait for a disk to recover.
        with suppress(OSError):
            self._files.make_dir(self.folder)
            lock = WriterLock(self.folder, name=LOCK_FILE, files=self._files)
        try:
            yield
        finally:
            if lock is not None:
                lock.release()

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Start all models, and run them until `stop`.

        Raises:
            ConfigurationError: If the folder is none.
            DamagedStateError: If settings in it make no sense.
            StateError: If it can't be read.
        """
        try:
            stored = await to_thread.run_sync(self._load_stored)
        except (FileExistsError, NotADirectoryError) as error:
            raise ConfigurationError(
                f"dir is {str(self.folder)!r}, but that is no folder"
            ) from error
        except OSError as error:
            raise StateError(f"{error.filename or self.folder}: {error.strerror}") from error
        async with create_task_group() as self._group:
            for name, settings in {**stored, **self.fixed}.items():
                self._start(name, settings)
            task_status.started()
            await self._stopping.wait()
            for hosted in self.models.values():
                hosted.stop()

    def add(self, name: str, settings: ModelSettings) -> None:
        """Start a model that has come into the run file, and of whose name there is none.

        Raises:
            ConfigurationError: If the name can't be that of a model.
            ConflictError: If there is one of that name.
            NotReadyError: If the daemon does not run.
        """
        self.check_new(name)
        self.fixed[name] = settings
        self._start(name, settings)

    def check_new(self, name: str) -> None:
        """Find out whether `add` would refuse a name.

        Raises:
            ConfigurationError: As for `add`, as are the others.
            ConflictError: If there is one of that name, or it is being made or deleted.
            NotReadyError: If the daemon does not run.
        """
        check_model_name(name)
        if self._group is None or self._stopping.is_set():
            raise NotReadyError("the daemon does not run")
        if name in self.models:
            raise ConflictError(f"there is a model {name} already")
        if name in self._ended:
            raise ConflictError(f"model {name} is being made or deleted just now")

    def stop(self) -> None:
        """End `run` when every model has saved its last state."""
        self._stopping.set()

    def _load_stored(self) -> dict[str, ModelSettings]:
        """Models that were made while an earlier daemon ran."""
        self._files.make_dir(self.folder)
        self._remove_trials()
        found = {}
        # Others' files and folders may lie there, such as lost+found, which nobody may read.
        for name in filter(MODEL_NAME.fullmatch, self._files.names(self.folder)):
            path = self.folder / name / SETTINGS_FILE
            with suppress(FileNotFoundError, NotADirectoryError):
                found[name] = _parse_settings(path, self._files.read(path))
        return found

    def _remove_trials(self) -> None:
        """Remove what processes left that were killed while they made a model."""
        for name in self._files.names(self.folder):
            path = self.folder / name
            # Others' may be at work. One that can't be removed does no harm, and stays.
            with suppress(OSError):
                if name.startswith(TRIAL_PREFIX) and path.stat().st_mtime < now() - _STALE_SECONDS:
                    shutil.rmtree(path)

    def _start(self, name: str, settings: ModelSettings) -> HostedModel:
        assert self._group is not None
        hosted = HostedModel(name, settings, self.folder / name, files=self._files)
        self.models[name] = hosted
        self._ended[name] = Event()
        self._group.start_soon(self._host, hosted, self._ended[name])
        return hosted

    async def _host(self, hosted: HostedModel, ended: Event) -> None:
        try:
            await hosted.run()
        finally:
            ended.set()

    async def create(
        self, name: str, settings: ModelSettings, start: tuple[str, bytes] | None = None
    ) -> HostedModel:
        """Make a model; it comes back at the next start.

        Args:
            name: What it is called.
            settings: What is learned, and how.
            start: Model file to go on with, which stays in its folder: suffix and content.

        Raises:
            ConfigurationError: If the name can't be that of a model, or no model could learn with
                the settings.
            ConflictError: If there is one of that name, or something left of a deleted one.
            ModelFileError: If the start can't be read.
            NotReadyError: If the daemon does not run.
            OutputError: If its folder can't be written.
        """
        self.check_new(name)
        self._ended[name] = Event()  # nobody else may make it meanwhile
        try:
            settings = await to_thread.run_sync(self._store, name, settings, start)
            if self._stopping.is_set():
                raise NotReadyError(f"the daemon has stopped; model {name} begins with the next")
        except BaseException as error:
            del self._ended[name]
            if isinstance(error, OSError):
                raise OutputError(f"{self.folder / name}: {error.strerror}") from error
            raise
        return self._start(name, settings)

    def _store(
        self, name: str, settings: ModelSettings, start: tuple[str, bytes] | None
    ) -> ModelSettings:
        folder = self.folder / name
        left = {"journal", "state"} & set(self._files.names(folder))
        if left:
            raise ConflictError(f"{folder} holds what is left of a deleted model: remove it first")
        with TemporaryDirectory(prefix=TRIAL_PREFIX, dir=self.folder) as trial:
            check_settings(self._begun(Path(trial), settings, start), Path(trial))
        self._files.make_dir(folder)
        self._files.fsync_dir(self.folder)
        values = settings.model_dump(mode="json", exclude_unset=True)
        if start is not None:
            values[START_FILE] = f"{START_FILE}{start[0]}"
        begun = self._begun(folder, settings, start)
        # Last of all, since it is what makes a model of the folder.
        write_durably(folder / SETTINGS_FILE, json.encode(values), files=self._files)
        return begun

    def _begun(
        self, folder: Path, settings: ModelSettings, start: tuple[str, bytes] | None
    ) -> ModelSettings:
        """The settings with the file of a start, which is written into a folder."""
        if start is None:
            return settings
        path = folder / f"{START_FILE}{start[0]}"
        write_durably(path, start[1], files=self._files)
        return _with_start(settings, path)

    async def delete(self, name: str) -> None:
        """End a model, and remove all that there is of it.

        Raises:
            ConflictError: If it is in the run file, or there is none of that name.
            StateError: If its folder can't be removed; or another process is at it: then it stays.
        """
        if name in self.fixed:
            raise ConflictError(f"model {name} is in the run file, so it would come back")
        hosted = self.models.pop(name, None)
        if hosted is None:
            raise ConflictError(f"there is no model {name}")
        hosted.stop()
        try:
            with CancelScope(shield=True):  # half-way, there would be none to delete any more
                await self._ended[name].wait()
                await to_thread.run_sync(self._remove, name)
        except StateError:  # nothing was removed
            if not self._stopping.is_set():
                self._start(name, hosted.settings)
            raise
        except OSError as error:
            raise StateError(f"{self.folder / name}: {error.strerror}") from error
        finally:
            if name not in self.models:
                del self._ended[name]

    def _remove(self, name: str) -> None:
        folder = self.folder / name
        try:
            lock = WriterLock(folder, files=self._files)  # another process may be at it
        except FileNotFoundError:
            return  # somebody has removed it by hand
        try:
            # Without it the rest is not taken for a model at the next start.
            with suppress(FileNotFoundError):
                self._files.unlink(folder / SETTINGS_FILE)
            shutil.rmtree(folder)
        finally:
            lock.release()


def _parse_settings(path: Path, data: bytes) -> ModelSettings:
    """What the file of a model's settings says.

    Raises:
        DamagedStateError: If that makes no sense.
    """
    try:
        values = json.decode(data, type=dict[str, Any])
        start = values.pop(START_FILE, None)
        return _with_start(parse_model(values), start and path.parent / start)
    except (ConfigurationError, DecodeError) as error:
        raise DamagedStateError(f"{path}: {error}") from error


def _with_start(settings: ModelSettings, path: Path | None) -> ModelSettings:
    """The settings with the file of a start, which nobody but this package may name."""
    if path is None:
        return settings
    population = settings.population.model_copy(update={"start": str(path)})
    return settings.model_copy(update={"population": population})
