"""Supervision of a model: starts its runs and restarts it after a failure or a reset.

A reset archives the old state and journal in the model's folder::

    old-000001/   state and journal as they were; the last three are kept
"""

from __future__ import annotations

import logging
import re
import shutil
from dataclasses import dataclass, field
from functools import partial
from math import inf
from pathlib import Path
from typing import Literal, final

from anyio import Event, Lock, move_on_after, to_thread

from streamnet.daemon.hosting.events import EventLog
from streamnet.daemon.hosting.model_run import ModelRun
from streamnet.durability.files import DISK, FileSystem, write_durably
from streamnet.durability.state_directory import WriterLock
from streamnet.errors import NotReadyError, OutputError, StateError, StreamnetError
from streamnet.pipeline.concurrency import first_cause
from streamnet.runs.builder import network_arguments
from streamnet.settings.daemon import ModelSettings

__all__ = (
    "ModelState",
    "Supervisor",
    "archive_state",
    "finish_archiving",
)


_LOG = logging.getLogger("streamnet.daemon")
_KEPT_ARCHIVES = 3  # as there are generations of a state
_ARCHIVE_NAME = re.compile(r"old-[0-9]{6}")


def archive_state(folder: Path, *, keep: bool) -> None:
    """Take the state and the journal out of the way, in this order: one needs the other.

    Args:
        folder: Of the model, which must not be alive.
        keep: Whether they stay as the newest of the last three, instead of being deleted.

    Raises:
        OSError: If they can't be moved; then they are where they were.
    """
    found = [name for name in ("state", "journal") if (folder / name).exists()]
    if not found:
        return
    old = _list_archives(folder)
    number = 1 + int(old[-1].name.removeprefix("old-")) if old else 1
    aside = folder / f"old-{number:06d}"
    aside.mkdir()
    try:
        for name in found:
            (folder / name).rename(aside / name)
    except OSError:
        for path in list(aside.iterdir()):
            path.rename(folder / path.name)
        aside.rmdir()
        raise
    if not keep:
        _remove_archive(aside)
    _remove_old_archives(folder)


def finish_archiving(folder: Path) -> None:
    """Do what a crash kept `archive_state` from: without its state a journal is no beginning.

    Raises:
        OSError: If that can't be done.
    """
    aside = max(_list_archives(folder), default=folder)
    was_moved = (aside / "state").exists() and not (aside / "journal").exists()
    if was_moved and not (folder / "state").exists() and (folder / "journal").exists():
        (folder / "journal").rename(aside / "journal")


def _list_archives(folder: Path) -> list[Path]:
    """What resets moved aside, the oldest first; not what somebody gave another name to keep it."""
    return sorted(path for path in folder.glob("old-*") if _ARCHIVE_NAME.fullmatch(path.name))


def _remove_old_archives(folder: Path) -> None:
    """Leave the last few that hold something: a crash may leave one that is empty."""
    old = [aside for aside in _list_archives(folder) if any(aside.iterdir())]
    for aside in old[:-_KEPT_ARCHIVES]:
        _remove_archive(aside)


def _remove_archive(aside: Path) -> None:
    """Its state first: one that a crash left without its journal would be a move to finish.

    What can't be removed does no harm, and stays until a later reset.
    """
    try:
        if (aside / "state").exists():
            shutil.rmtree(aside / "state")
        shutil.rmtree(aside)
    except OSError as error:
        _LOG.warning("%s can't be removed: %s", aside, error.strerror)


logger = logging.getLogger("streamnet.daemon")

PAUSED_FILE = "paused"
_MIN_RETRY_DELAY, _MAX_RETRY_DELAY = 1.0, 60.0  # seconds until the next try after the disk failed
ModelState = Literal["starting", "learning", "paused", "failed", "stopped"]


@final
@dataclass
class _Reset:
    keep_old: bool
    done: Event = field(default_factory=Event)
    failure: StreamnetError | None = None


@final
class Supervisor:
    """One life after the other, until it is stopped; a failure ends one, and nothing else.

    Args:
        name: What the model is called.
        settings: Of the model.
        folder: Where it lives.
        files: The file system.

    Attributes:
        failure: Why the last life failed, in words; None if it did not.
        life: What is alive and open; None before the start, after a failure and at the end.

    >>> from streamnet.settings.daemon import model_settings
    >>> settings = model_settings({"source": {"target": "y"}})
    >>> lifecycle = Supervisor("spam", settings, Path("spam"))
    >>> lifecycle.state, lifecycle.life
    ('starting', None)
    """

    def __init__(
        self, name: str, settings: ModelSettings, folder: Path, *, files: FileSystem = DISK
    ) -> None:
        self.name = name
        self.settings = settings
        self.folder = folder
        self.events = EventLog()
        self.failure: str | None = None
        self.life: ModelRun | None = None
        self._files = files
        self._state: ModelState = "starting"
        self._paused = PAUSED_FILE in files.names(folder)
        self._pause_lock = Lock()
        self._stopping = False
        self.lives = 0  # begun so far
        self._failures = 0  # of the disk, since it last learned
        self._reset: _Reset | None = None  # that comes behind this life
        self._opened = Event()
        self._until = Event()  # ends the life

    @property
    def state(self) -> ModelState:
        """Where it stands."""
        if self._state == "learning" and self._paused:
            return "paused"
        return self._state

    @property
    def waits_for_disk(self) -> bool:
        """Whether nothing can be taken until the disk recovers; it goes on by itself then."""
        return self._failures > 0 or (self.life is not None and self.life.committer.refuses)

    def _enter(self, state: ModelState) -> None:
        before, self._state = self.state, state
        if state == "learning":
            self._failures = 0
        if self.state != before:
            logger.info("model %s: %s", self.name, self.state)
            self.events.add("state", state=self.state, failure=self.failure)

    async def run(self) -> None:
        """Learn until `stop`; a failure is kept in `failure`, and nothing is raised.

        After a failure it waits for `reset`, `resume`, which tries again, or `stop`. What failed
        for the disk is tried again by itself, at first after a second, at last each minute.
        """
        try:
            while not self._stopping:
                self._begin_run()
                await self._live()
                async with self._pause_lock:  # which may hold the lock that is needed next
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

    def _begin_run(self) -> None:
        """Let what comes last until somebody ends it, who may have done so already."""
        self._until = Event()
        if self._stopping or self._reset is not None:
            self._until.set()

    async def _live(self) -> None:
        self.lives += 1
        self.failure = None
        self._enter("starting")
        try:
            await to_thread.run_sync(finish_archiving, self.folder)
            networks = await to_thread.run_sync(network_arguments, self.settings)
            life = ModelRun(self.folder, self.settings, networks, self.events, files=self._files)
            restored = partial(self._enter, "learning")
            await life.run(partial(self._open, life), restored, self._until)
        except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001 - told, and kept
            cause = first_cause(error) if isinstance(error, BaseExceptionGroup) else error
            await self._fail(cause)
        finally:
            self._end_run()
            self._close()

    def _close(self) -> None:
        if self._opened.is_set():  # if not, those that wait for it wait for what comes next
            self._opened = Event()

    def _end_run(self) -> None:
        life, self.life = self.life, None
        if life is not None:
            life.publication.first.set()  # none will come for those that still wait

    async def _fail(self, error: BaseException) -> None:
        """Say it, and wait for somebody who knows better, or for the disk; other models go on."""
        if not isinstance(error, Exception):
            raise error
        known, told = isinstance(error, StreamnetError), str(error)
        if isinstance(error, OSError):
            known, told = True, f"{error.filename or self.folder}: {error.strerror or error}"
        elif isinstance(error, MemoryError):
            known, told = True, f"there is too little memory: {error}"
        logger.error("model %s failed: %s", self.name, told, exc_info=None if known else error)
        self.failure = told if known else f"internal error: {error!r}"
        self._end_run()
        self._enter("failed")
        self._opened.set()
        with move_on_after(self._compute_retry_delay(error)):
            await self._until.wait()

    def _compute_retry_delay(self, error: Exception) -> float:
        """Seconds until it is tried again: a disk that was full, or away, may have recovered.

        Parts of a model tell what the disk said in words of their own, as its cause.
        """
        if not isinstance(error, OSError) and not (
            isinstance(error, StateError) and isinstance(error.__cause__, OSError)
        ):
            self._failures = 0
            return inf
        self._failures += 1
        return min(_MIN_RETRY_DELAY * 2.0 ** min(self._failures - 1, 10), _MAX_RETRY_DELAY)

    async def _clear(self, reset: _Reset) -> None:
        """Begin with an empty folder; the state first, since it needs the journal."""
        self._reset = None
        try:
            await to_thread.run_sync(self._empty, reset.keep_old)
        except OSError as error:
            reset.failure = OutputError(f"{self.folder}: {error.strerror}")
        except StateError as error:
            reset.failure = error
        finally:
            reset.done.set()
        if reset.failure is not None:  # what there is lives on
            logger.warning("model %s was not reset: %s", self.name, reset.failure)

    def _empty(self, keep: bool) -> None:
        # A life that failed holds no lock; perhaps it did since another process is at the folder.
        lock = WriterLock(self.folder, files=self._files)
        try:
            archive_state(self.folder, keep=keep)
        finally:
            lock.release()

    def _open(self, life: ModelRun) -> None:
        self.life = life
        if self._paused:
            life.source.pause()
        if life.publication.restored.is_set():
            self._enter("learning")
        self._opened.set()

    def stop(self) -> None:
        """End `run` when what was read is learned and the last state is saved."""
        self._stopping = True
        self._until.set()

    async def opened(self) -> None:
        """Wait until samples can be taken, or it has failed."""
        await self._opened.wait()

    async def published(self) -> None:
        """Wait until there is a model that answers, for which something must be learned.

        Raises:
            NotReadyError: If it has failed or stopped.
        """
        published = None
        while published is None:  # another life may have begun
            await self._opened.wait()
            publication = self.living().publication
            await publication.first.wait()
            published = publication.published

    async def pause(self) -> None:
        """Learn no more for now; samples are accepted until too many wait. Twice is allowed.

        Raises:
            NotReadyError: If it has stopped.
            OutputError: If it can't be written down for the next start.
            StateError: If another process is at it.
        """
        await self._record_pause(paused=True)
        if self.life is not None:
            self.life.source.pause()

    async def resume(self) -> None:
        """Learn on, also after a failure, one of its files included. Twice is allowed.

        After a failure it waits until samples can be taken again, or it has failed anew.

        Raises:
            NotReadyError: If it has stopped.
            OutputError: If it can't be written down for the next start.
            StateError: If another process is at it, and it was paused.
        """
        await self._record_pause(paused=False)
        if self.life is not None:
            self.life.source.resume()
            if self.life.feeder is not None:
                self.life.feeder.resume()
        if self._state == "failed":
            self._until.set()
            self._close()  # what there was is known
            await self.opened()

    async def _record_pause(self, *, paused: bool) -> None:
        done = False
        while not done:  # another life may have begun
            await self.opened()  # before, nobody knows who is at the folder
            if self._stopping:  # perhaps since it is deleted: its folder must not come back
                raise NotReadyError(f"model {self.name} is {self.state}")
            async with self._pause_lock:  # two at once are one after the other
                if done := self._opened.is_set():
                    await self._record_pause_once(paused)

    async def _record_pause_once(self, paused: bool) -> None:
        if paused == self._paused:
            return
        path = self.folder / PAUSED_FILE
        try:
            await to_thread.run_sync(self._note, path, paused)
        except OSError as error:
            raise OutputError(f"{path}: {error.strerror}") from error
        before, self._paused = self.state, paused
        if self.state != before:
            self.events.add("state", state=self.state, failure=self.failure)

    def _note(self, path: Path, paused: bool) -> None:
        self._files.make_dir(self.folder)
        # As in `_empty`: the folder of a life that failed may be another process's.
        lock = WriterLock(self.folder, files=self._files) if self.life is None else None
        try:
            if paused:
                write_durably(path, b"", files=self._files)
            else:
                self._files.unlink(path)
                self._files.fsync_dir(self.folder)
        finally:
            if lock is not None:
                lock.release()

    async def reset(self, *, keep_old: bool = True) -> None:
        """Forget everything and begin anew; the old state is moved aside, or deleted.

        Several at once are one, which deletes only if all of them would.

        Raises:
            NotReadyError: If it has stopped.
            OutputError: If the old state can't be moved; then the model goes on with it.
            StateError: If another process is at it; likewise, if that ends.
        """
        if self._stopping:
            raise NotReadyError(f"model {self.name} is {self.state}")
        if self._reset is None:
            self._reset = _Reset(keep_old)
        reset = self._reset
        reset.keep_old |= keep_old
        self._until.set()
        await reset.done.wait()
        if reset.failure is not None:
            raise reset.failure
        await self.opened()

    def living(self) -> ModelRun:
        """What is alive.

        Raises:
            NotReadyError: If nothing is.
        """
        if self.life is None:
            why = f": {self.failure}" if self.failure else ""
            raise NotReadyError(f"model {self.name} is {self.state}{why}")
        return self.life
