"""Supervision of a model: starts its runs and restarts it after a failure or a reset.

A reset archives the old state and journal in the model's folder::

    old-000001/   state and journal as they were; the last three are kept
"""

from __future__ import annotations

import logging
import re
import shutil
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from functools import partial
from math import inf
from pathlib import Path

from anyio import Event, Lock, move_on_after, to_thread

from streamnet.client.schemas import ModelState
from streamnet.daemon.hosting.budgets import Budgets
from streamnet.daemon.hosting.events import EventLog
from streamnet.daemon.hosting.model_run import ModelRun
from streamnet.durability.files import DISK, FileSystem, write_durably
from streamnet.durability.state_directory import WriterLock
from streamnet.errors import NotReadyError, OutputError, StateError, StreamnetError
from streamnet.pipeline.concurrency import first_cause
from streamnet.runs.builder import network_arguments
from streamnet.settings.daemon import ModelSettings

_LOG = logging.getLogger("streamnet.daemon")

# ------------------------------------------------------------------------------- archive

_KEPT_ARCHIVES = 3  # as many as checkpoints are kept
_ARCHIVE_NAME = re.compile(r"old-[0-9]{6}")


def archive_state(folder: Path, *, keep: bool) -> None:
    """Move the state and the journal to an archive; the state first, since it needs the journal.

    If an OSError prevents it, they stay where they were.
    """
    names = [name for name in ("state", "journal") if (folder / name).exists()]
    if not names:
        return
    archives = _list_archives(folder)
    number = 1 + int(archives[-1].name.removeprefix("old-")) if archives else 1
    archive = folder / f"old-{number:06d}"
    archive.mkdir()
    try:
        for name in names:
            (folder / name).rename(archive / name)
    except OSError:
        for path in list(archive.iterdir()):
            path.rename(folder / path.name)
        archive.rmdir()
        raise
    if not keep:
        _remove_archive(archive)
    _remove_old_archives(folder)


def finish_archiving(folder: Path) -> None:
    """Finish an interrupted `archive_state`: a journal can't start without its state."""
    archive = max(_list_archives(folder), default=folder)
    is_unfinished = (archive / "state").exists() and not (archive / "journal").exists()
    if is_unfinished and not (folder / "state").exists() and (folder / "journal").exists():
        (folder / "journal").rename(archive / "journal")


def _list_archives(folder: Path) -> list[Path]:
    """List the archives, oldest first; those that a user renamed to keep them are skipped."""
    return sorted(path for path in folder.glob("old-*") if _ARCHIVE_NAME.fullmatch(path.name))


def _remove_old_archives(folder: Path) -> None:
    """Keep the last few archives that are not empty, as one may be after a crash."""
    archives = [path for path in _list_archives(folder) if any(path.iterdir())]
    for archive in archives[:-_KEPT_ARCHIVES]:
        _remove_archive(archive)


def remove_expired_archives(folder: Path, before: float) -> None:
    """Remove the archives that were made before a time in seconds since 1970."""
    for archive in _list_archives(folder):
        if archive.stat().st_mtime < before:
            _remove_archive(archive)
            _LOG.info("%s has expired and is removed", archive, extra={"model": folder.name})


def _remove_archive(archive: Path) -> None:
    """Remove the state first: without its journal it would look like an unfinished archive.

    What can't be removed does no harm, and stays until a later reset.
    """
    try:
        if (archive / "state").exists():
            shutil.rmtree(archive / "state")
        shutil.rmtree(archive)
    except OSError as error:
        _LOG.warning("%s can't be removed: %s", archive, error.strerror)


# ---------------------------------------------------------------------------- supervisor

PAUSED_FILE = "paused"
_MIN_RETRY_DELAY, _MAX_RETRY_DELAY = 1.0, 60.0  # seconds, after a failure of the disk


@dataclass
class _Reset:
    keep_old: bool
    done: Event = field(default_factory=Event)
    failure: StreamnetError | None = None


class Supervisor:
    """Starts one run of a model after the other until it is stopped.

    A failure ends a run and nothing else: it is kept in ``failure`` until `resume` or `reset`
    starts another run. After a failure of the disk a new run starts by itself, at first after a
    second, in the end every minute.

    >>> from streamnet.settings.daemon import parse_model
    >>> settings = parse_model({"source": {"target": "y"}})
    >>> supervisor = Supervisor("spam", settings, Path("spam"))
    >>> supervisor.state, supervisor.model_run
    ('starting', None)
    """

    def __init__(
        self,
        name: str,
        settings: ModelSettings,
        folder: Path,
        *,
        files: FileSystem = DISK,
        budgets: Budgets | None = None,
    ) -> None:
        self.name = name
        self.settings = settings
        self.folder = folder
        self.events: EventLog = EventLog()
        self.failure: str | None = None  # of the last run, in words
        self.model_run: ModelRun | None = None  # None before a start, after a failure, at the end
        self.run_count: int = 0  # each run may number its published models from 1 again
        self._files, self._budgets = files, budgets
        self._state: ModelState = "starting"
        self._paused = PAUSED_FILE in files.names(folder)
        self._pause_lock = Lock()
        self._stopping = False
        self._disk_failures = 0  # in a row
        self._reset: _Reset | None = None  # to be done after the current run
        self._opened = Event()
        self._run_stop = Event()  # ends the current run

    @property
    def state(self) -> ModelState:
        """The state of the model."""
        if self._state == "learning" and self._paused:
            return "paused"
        return self._state

    @property
    def waits_for_disk(self) -> bool:
        """Whether no samples are accepted until the disk recovers, which needs no intervention."""
        is_refusing = self.model_run is not None and self.model_run.committer.refuses
        return self._disk_failures > 0 or is_refusing

    @property
    def is_compiling(self) -> bool:
        """Whether kernels that requests need are still being compiled."""
        return self.model_run is not None and not self.model_run.compiled.is_set()

    async def run(self) -> None:
        """Run the model until `stop`; failures are kept in ``failure`` and not raised."""
        try:
            while not self._stopping:
                self._run_stop = Event()
                if self._reset is not None:
                    self._run_stop.set()
                await self._run_once()
                async with self._pause_lock:  # it may hold the lock that the next run needs
                    pass
                if self._reset is not None:
                    await self._clear(self._reset)
        finally:
            self._enter("stopped")
            self._opened.set()
            if self._reset is not None:
                self._reset.failure = NotReadyError(f"model {self.name} is {self.state}")
                self._reset.done.set()
            self.events.close()

    def stop(self) -> None:
        """End `run` once what was read is learned and the last checkpoint is written."""
        self._stopping = True
        self._run_stop.set()

    async def _run_once(self) -> None:
        self.run_count += 1
        self.failure = None
        self._enter("starting")
        try:
            await to_thread.run_sync(finish_archiving, self.folder)
            networks = await to_thread.run_sync(network_arguments, self.settings)
            run = ModelRun(
                self.folder,
                self.settings,
                networks,
                self.events,
                files=self._files,
                budgets=self._budgets,
            )
            restored = partial(self._enter, "learning")
            await run.run(partial(self._open, run), restored, self._run_stop)
        except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001 - logged and kept
            cause = first_cause(error) if isinstance(error, BaseExceptionGroup) else error
            await self._fail(cause)
        finally:
            self._end_run()
            self._close()

    def _enter(self, state: ModelState) -> None:
        before, self._state = self.state, state
        if state == "learning":
            self._disk_failures = 0
        if self.state != before:
            extra = {"model": self.name, "state": self.state}
            _LOG.info("model %s: %s", self.name, self.state, extra=extra)
            self.events.add("state", state=self.state, failure=self.failure)

    def _open(self, run: ModelRun) -> None:
        self.model_run = run
        if self._paused:
            run.pause()
        if run.publisher.restored.is_set():
            self._enter("learning")
        self._opened.set()

    def _close(self) -> None:
        if self._opened.is_set():  # if not, those who wait for it wait for the next run
            self._opened = Event()

    def _end_run(self) -> None:
        run, self.model_run = self.model_run, None
        if run is not None:
            run.publisher.first.set()  # release those who wait for a model

    async def _fail(self, error: BaseException) -> None:
        """Record a failure, and wait for an operator or for the disk."""
        if not isinstance(error, Exception):
            raise error
        is_known, message = isinstance(error, StreamnetError), str(error)
        if isinstance(error, OSError):
            is_known, message = True, f"{error.filename or self.folder}: {error.strerror or error}"
        elif isinstance(error, MemoryError):
            is_known, message = True, f"out of memory: {error}"
        trace = None if is_known else error
        extra = {"model": self.name}
        _LOG.error("model %s failed: %s", self.name, message, exc_info=trace, extra=extra)
        self.failure = message if is_known else f"internal error: {error!r}"
        self._end_run()
        self._enter("failed")
        self._opened.set()
        with move_on_after(self._compute_retry_delay(error)):
            await self._run_stop.wait()

    def _compute_retry_delay(self, error: Exception) -> float:
        """Seconds until the next run: a disk that was full or absent may have recovered.

        Parts of a model raise errors of their own, with that of the disk as the cause.
        """
        if not isinstance(error, OSError) and not (
            isinstance(error, StateError) and isinstance(error.__cause__, OSError)
        ):
            self._disk_failures = 0
            return inf
        self._disk_failures += 1
        return min(_MIN_RETRY_DELAY * 2.0 ** min(self._disk_failures - 1, 10), _MAX_RETRY_DELAY)

    async def opened(self) -> None:
        """Wait until samples are accepted, or the model has failed."""
        await self._opened.wait()

    async def published(self) -> None:
        """Wait until a model is published; raises NotReadyError if the model fails or stops."""
        published = None
        while published is None:  # another run may have started
            await self._opened.wait()
            publisher = self.current_run().publisher
            await publisher.first.wait()
            published = publisher.published

    def current_run(self) -> ModelRun:
        """Return the current run."""
        if self.model_run is None:
            reason = f": {self.failure}" if self.failure else ""
            raise NotReadyError(f"model {self.name} is {self.state}{reason}")
        return self.model_run

    # ------------------------------------------------------------------ pause, resume

    async def pause(self) -> None:
        """Pause learning and feeds, also across restarts; senders may fill the queue.

        Pausing twice is allowed.

        Raises:
            NotReadyError: If the model has stopped.
            OutputError: If it can't be recorded for the next start.
            StateError: If another process uses the folder.
        """
        await self._record_pause(paused=True)
        if self.model_run is not None:
            self.model_run.pause()

    async def resume(self) -> None:
        """Resume learning, also after a failure of the model or of its feeds.

        After a failure it waits until samples are accepted again, or the next run has failed.
        Raises as `pause` does.
        """
        await self._record_pause(paused=False)
        if self.model_run is not None:
            self.model_run.resume()
        if self._state == "failed":
            self._run_stop.set()
            self._close()  # wait for the next run, not for the one that failed
            await self.opened()

    async def _record_pause(self, *, paused: bool) -> None:
        done = False
        while not done:  # another run may have started
            await self.opened()  # before that, the folder may be another process's
            if self._stopping:  # if it is being deleted, its folder must not come back
                raise NotReadyError(f"model {self.name} is {self.state}")
            async with self._pause_lock:
                if done := self._opened.is_set():
                    await self._record_pause_once(paused)

    async def _record_pause_once(self, paused: bool) -> None:
        if paused == self._paused:
            return
        path = self.folder / PAUSED_FILE
        try:
            await to_thread.run_sync(self._write_pause, path, paused)
        except OSError as error:
            raise OutputError(f"{path}: {error.strerror}") from error
        before, self._paused = self.state, paused
        if self.state != before:
            self.events.add("state", state=self.state, failure=self.failure)

    def _write_pause(self, path: Path, paused: bool) -> None:
        self._files.make_dir(self.folder)
        # A run that failed holds no lock, perhaps since another process uses the folder.
        with closing(self._lock()) if self.model_run is None else nullcontext():
            if paused:
                write_durably(path, b"", files=self._files)
            else:
                self._files.unlink(path)
                self._files.fsync_dir(self.folder)

    # ------------------------------------------------------------------------- reset

    async def reset(self, *, keep_old: bool = True) -> None:
        """Reset the model to its start; the old state is archived.

        Concurrent resets are done once, and archive unless all have ``keep_old=False``.

        Raises:
            NotReadyError: If the model has stopped.
            OutputError: If the old state can't be moved; then the model continues with it.
            StateError: If another process uses the folder; likewise, once that ends.
        """
        if self._stopping:
            raise NotReadyError(f"model {self.name} is {self.state}")
        if self._reset is None:
            self._reset = _Reset(keep_old)
        reset = self._reset
        reset.keep_old |= keep_old
        self._run_stop.set()
        await reset.done.wait()
        if reset.failure is not None:
            raise reset.failure
        await self.opened()

    async def _clear(self, reset: _Reset) -> None:
        self._reset = None
        try:
            await to_thread.run_sync(self._archive, reset.keep_old)
        except OSError as error:
            reset.failure = OutputError(f"{self.folder}: {error.strerror}")
        except StateError as error:
            reset.failure = error
        finally:
            reset.done.set()
        if reset.failure is not None:
            extra = {"model": self.name}
            _LOG.warning("model %s was not reset: %s", self.name, reset.failure, extra=extra)

    def _archive(self, keep: bool) -> None:
        # As in `_write_pause`: the folder may be another process's.
        with closing(self._lock()):
            archive_state(self.folder, keep=keep)

    def _lock(self) -> WriterLock:
        return WriterLock(self.folder, files=self._files)
