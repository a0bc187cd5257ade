"""The registry of all models in a daemon."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from time import time
from typing import Any, final

from anyio import TASK_STATUS_IGNORED, CancelScope, Event, create_task_group, sleep, to_thread
from anyio.abc import TaskGroup, TaskStatus
from msgspec import DecodeError, json

from streamnet.client.schemas import Health, HealthStatus
from streamnet.daemon.hosting.budgets import Budgets
from streamnet.daemon.hosting.events import EventLog
from streamnet.daemon.hosting.hosted_model import HostedModel
from streamnet.daemon.hosting.model_run import ModelRun
from streamnet.daemon.hosting.supervisor import remove_expired_archives
from streamnet.daemon.hosting.webhooks import Webhooks
from streamnet.daemon.journal.commit_log import CommitLog
from streamnet.daemon.request_context import CURRENT_REQUEST
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
from streamnet.runs.builder import learner_arguments, network_arguments
from streamnet.samples import Task
from streamnet.settings.daemon import MODEL_NAME, ModelSettings, check_model_name, parse_model


def check_settings(settings: ModelSettings, folder: Path) -> None:
    """Check that a model could learn with some settings, in an empty temporary folder.

    Raises:
        ConfigurationError: If they contradict each other, fit no task, or don't fit into memory.
        ModelFileError: If the start can't be read.

    >>> import tempfile
    >>> from streamnet.settings.daemon import parse_model
    >>> tables = {"source": {"target": "y"}, "population": {"candidates": 1000}}
    >>> check_settings(parse_model(tables), Path(tempfile.mkdtemp()))
    Traceback (most recent call last):
    streamnet.errors.ConfigurationError: candidates is 1000, but must be from 1 to 512
    """
    try:
        networks = network_arguments(settings)
        ModelRun(folder, settings, networks, EventLog())
        start = networks.get("start")
        given = settings.source.task or (start and start.task)
        # Without a task, one must be possible: the target's values determine which.
        tasks = tuple(Task) if given is None else (given,)
        errors = []
        for task in tasks:
            try:
                Learner(task=task, **learner_arguments(settings), **networks)
            except ConfigurationError as error:
                errors.append(error)
    except MemoryError as error:
        raise ConfigurationError(f"the model does not fit into memory: {error}") from error
    if len(errors) == len(tasks):
        raise errors[0]


SETTINGS_FILE = "model.json"
TRIAL_PREFIX = ".trial-"  # of folders in which settings are tried before a model is created
_SECONDS_OF_A_DAY = 24 * 3600.0
_EXPIRY_SECONDS = 3600.0  # between checks for archives that are too old
_STALE_SECONDS = 3600.0  # after which a trial folder was left by a crash
LOCK_FILE = ".lock"  # not a valid name of a model
START_FILE = "start"  # name of the start's file without suffix, and of its key in the settings


@final
class Registry:
    """Runs models side by side; a failure of one does not affect the others.

    Each model has a folder of its name. A model created over HTTP has its settings there, too, and
    is started again with the daemon. The ``fixed`` models are those of the run file, which can't be
    deleted while they are there.

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
        budgets: Budgets | None = None,
        webhooks: Webhooks | None = None,
        archive_days: float | None = None,
    ) -> None:
        self.folder = folder
        self.webhooks: Webhooks = Webhooks({}, folder) if webhooks is None else webhooks
        self.models: dict[str, HostedModel] = {}
        self.fixed: dict[str, ModelSettings] = dict(fixed or {})
        self.released: set[str] = set()  # fixed models that the run file no longer has
        self._files = files
        self._archive_days = archive_days  # None keeps archives of resets
        self._budgets = Budgets() if budgets is None else budgets
        self._budgets.commits = self._commits = CommitLog(folder, files=files)
        self._group: TaskGroup | None = None
        self._ended: dict[str, Event] = {}  # including models that are being created or deleted
        self._stopping = Event()
        for name in self.fixed:
            check_model_name(name)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder, which is created if absent, against other daemons.

        Raises:
            StateError: If another daemon uses it.
        """
        with ExitStack() as stack:
            # `run` reports what is wrong. Models have their own locks, and wait for a disk.
            with suppress(OSError):
                self._files.make_dir(self.folder)
                lock = WriterLock(self.folder, name=LOCK_FILE, files=self._files)
                stack.callback(lock.close)
            yield

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Start all models, and run them until `stop`.

        Raises:
            ConfigurationError: If the folder is not a folder.
            DamagedStateError: If stored settings are invalid.
            StateError: If the folder can't be read.
        """
        try:
            stored = await to_thread.run_sync(self._load_stored)
        except (FileExistsError, NotADirectoryError) as error:
            raise ConfigurationError(
                f"dir is {str(self.folder)!r}, but that is not a folder"
            ) from error
        except OSError as error:
            raise StateError(f"{error.filename or self.folder}: {error.strerror}") from error
        async with create_task_group() as delivery:
            for hook in self.webhooks.hooks:
                delivery.start_soon(hook.run)
            delivery.start_soon(self._expire_archives)
            delivery.start_soon(self._commits.run)
            async with create_task_group() as self._group:
                for name, settings in {**stored, **self.fixed}.items():
                    self._start(name, settings)
                task_status.started()
                await self._stopping.wait()
                for hosted in self.models.values():
                    hosted.stop()
            delivery.cancel_scope.cancel()  # what is queued is delivered after the next start

    async def _expire_archives(self) -> None:
        """Remove what resets have left once it is too old, at the start and every hour."""
        while self._archive_days is not None:
            before = time() - _SECONDS_OF_A_DAY * self._archive_days
            for name in list(self.models):
                await to_thread.run_sync(remove_expired_archives, self.folder / name, before)
            await sleep(_EXPIRY_SECONDS)

    def add(self, name: str, settings: ModelSettings) -> None:
        """Start a model that was added to the run file; raises as `check_new` does."""
        self.check_new(name)
        self.fixed[name] = settings
        self._start(name, settings)

    def check_new(self, name: str) -> None:
        """Check that a model of a name could be added.

        Raises:
            ConfigurationError: If the name is invalid.
            ConflictError: If a model of that name exists, or is being created or deleted.
            NotReadyError: If the daemon is not running.
        """
        check_model_name(name)
        if self._group is None or self._stopping.is_set():
            raise NotReadyError("the daemon is not running")
        if name in self.models:
            raise ConflictError(f"model {name} already exists")
        if name in self._ended:
            raise ConflictError(f"model {name} is being created or deleted")

    def health(self) -> HealthStatus:
        """Whether all that requests need is there; "ok", or the first reason why it is not.

        A model that failed for another reason than the disk needs an operator, and does not keep
        the others out of service until then, unless all have failed.
        """
        models = self.models.values()
        if any(hosted.waits_for_disk for hosted in models):
            return "refusing"
        if any(hosted.state == "starting" for hosted in models):
            return "starting"
        if any(hosted.is_compiling for hosted in models):
            return "compiling"
        is_failed = bool(models) and all(hosted.state == "failed" for hosted in models)
        return "failed" if is_failed else "ok"

    def report_health(self) -> Health:
        """The health, as a reply."""
        return Health(self.health())

    def stop(self) -> None:
        """End `run` once every model has written its last checkpoint."""
        self._stopping.set()

    def _load_stored(self) -> dict[str, ModelSettings]:
        """Load the settings of models that were created over HTTP."""
        self._files.make_dir(self.folder)
        self._commits.recover()
        self._remove_trials()
        found = {}
        # Other files and folders, such as an unreadable lost+found, are skipped.
        for name in filter(MODEL_NAME.fullmatch, self._files.names(self.folder)):
            path = self.folder / name / SETTINGS_FILE
            with suppress(FileNotFoundError, NotADirectoryError):
                found[name] = _parse_settings(path, self._files.read(path))
        return found

    def _remove_trials(self) -> None:
        """Remove what was left by processes that were killed while they created a model."""
        for name in self._files.names(self.folder):
            path = self.folder / name
            # A recent one may be in use. One that can't be removed does no harm.
            with suppress(OSError):
                if name.startswith(TRIAL_PREFIX) and path.stat().st_mtime < time() - _STALE_SECONDS:
                    shutil.rmtree(path)

    def _start(self, name: str, settings: ModelSettings) -> HostedModel:
        assert self._group is not None
        hosted = HostedModel(
            name, settings, self.folder / name, files=self._files, budgets=self._budgets
        )
        self.models[name] = hosted
        self._ended[name] = Event()
        self._group.start_soon(self.webhooks.follow, name, hosted.events)
        self._group.start_soon(self._host, hosted, self._ended[name])
        return hosted

    async def _host(self, hosted: HostedModel, ended: Event) -> None:
        CURRENT_REQUEST.set(None)  # it outlives the one that created it
        try:
            await hosted.run()
        finally:
            ended.set()

    async def create(
        self, name: str, settings: ModelSettings, start: tuple[str, bytes] | None = None
    ) -> HostedModel:
        """Create a model, which is started again with the daemon.

        The start is the suffix and content of a model file to continue from.

        Raises:
            ConfigurationError: If the name is invalid, or no model could learn with the settings.
            ConflictError: If a model of that name exists, or remains of a deleted one.
            ModelFileError: If the start can't be read.
            NotReadyError: If the daemon is not running.
            OutputError: If the folder can't be written.
        """
        self.check_new(name)
        self._ended[name] = Event()  # reserves the name
        try:
            settings = await to_thread.run_sync(self._store, name, settings, start)
            if self._stopping.is_set():
                raise NotReadyError(
                    f"the daemon has stopped; model {name} starts with the next one"
                )
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
            raise ConflictError(f"{folder} holds the remains of a deleted model: remove it first")
        with TemporaryDirectory(prefix=TRIAL_PREFIX, dir=self.folder) as trial:
            check_settings(self._store_start(Path(trial), settings, start), Path(trial))
        self._files.make_dir(folder)
        self._files.fsync_dir(self.folder)
        values = settings.model_dump(mode="json", exclude_unset=True)
        if start is not None:
            values[START_FILE] = f"{START_FILE}{start[0]}"
        stored = self._store_start(folder, settings, start)
        # Last, since this file makes the folder a model.
        write_durably(folder / SETTINGS_FILE, json.encode(values), files=self._files)
        return stored

    def _store_start(
        self, folder: Path, settings: ModelSettings, start: tuple[str, bytes] | None
    ) -> ModelSettings:
        """Write a start into a folder; return the settings with its path."""
        if start is None:
            return settings
        path = folder / f"{START_FILE}{start[0]}"
        write_durably(path, start[1], files=self._files)
        return _with_start(settings, path)

    async def delete(self, name: str) -> None:
        """Stop a model and remove its folder.

        Raises:
            ConflictError: If it is in the run file, or there is no model of that name.
            StateError: If its folder can't be removed, or another process uses it.
        """
        if name in self.fixed and name not in self.released:
            raise ConflictError(f"model {name} is in the run file, and would be started again")
        hosted = self.models.pop(name, None)
        if hosted is None:
            raise ConflictError(f"there is no model {name}")
        hosted.stop()
        try:
            with CancelScope(shield=True):  # a half-deleted model could not be deleted again
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
        self.fixed.pop(name, None)
        self.released.discard(name)

    def _remove(self, name: str) -> None:
        folder = self.folder / name
        try:
            lock = WriterLock(folder, files=self._files)  # another process may use it
        except FileNotFoundError:
            return  # it was removed by hand
        with closing(lock):
            # Without it, the rest is not a model for the next start.
            with suppress(FileNotFoundError):
                self._files.unlink(folder / SETTINGS_FILE)
            shutil.rmtree(folder)


def _parse_settings(path: Path, data: bytes) -> ModelSettings:
    """Parse the stored settings of a model."""
    try:
        values = json.decode(data, type=dict[str, Any])
        start = values.pop(START_FILE, None)
        return _with_start(parse_model(values), start and path.parent / start)
    except (ConfigurationError, DecodeError) as error:
        raise DamagedStateError(f"{path}: {error}") from error


def _with_start(settings: ModelSettings, path: Path | None) -> ModelSettings:
    """Add the path of a start to settings, which only this package may do."""
    if path is None:
        return settings
    population = settings.population.model_copy(update={"start": str(path)})
    return settings.model_copy(update={"population": population})
