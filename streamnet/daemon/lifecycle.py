"""Lifecycle: starts a model's life, and another one after a failure or a reset."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from dataclasses import field
from functools import partial
from math import inf
from pathlib import Path
from typing import Literal
from typing import final

from anyio import Event
from anyio import Lock
from anyio import move_on_after
from anyio import to_thread

from streamnet.assembling import networks_of
from streamnet.daemon.aside import finish_moving
from streamnet.daemon.aside import move_aside
from streamnet.daemon.events import EventLog
from streamnet.daemon.life import Life
from streamnet.durability.files import DISK
from streamnet.durability.files import Files
from streamnet.durability.lock import WriterLock
from streamnet.durability.writing import write_durably
from streamnet.errors import NotReadyError
from streamnet.errors import OutputError
from streamnet.errors import StateError
from streamnet.errors import StreamnetError
from streamnet.pipeline.causes import first_cause
from streamnet.settings_daemon import ModelSettings

__all__ = ("HostedState", "Lifecycle")

logger = logging.getLogger("streamnet.daemon")

PAUSED = "paused"
_SOONEST, _LATEST = 1.0, 60.0  # seconds until the next try after the disk failed
HostedState = Literal["starting", "learning", "paused", "failed", "stopped"]


@final
@dataclass
class _Reset:
    keep_old: bool
    done: Event = field(default_factory=Event)
    failure: StreamnetError | None = None


@final
class Lifecycle:
    """One life after the other, until it is stopped; a failure ends one, and nothing else.

    Args:
        name: What the model is called.
        settings: Of the model.
        folder: Where it lives.
        files: The file system.

    Attributes:
        failure: Why the last life failed, in words; None if it did not.
        life: What is alive and open; None before the start, after a failure and at the end.

    >>> from streamnet.settings_daemon import model_settings
    >>> settings = model_settings({"source": {"target": "y"}})
    >>> lifecycle = Lifecycle("spam", settings, Path("spam"))
    >>> lifecycle.state, lifecycle.life
    ('starting', None)
    """

    def __init__(
        self, name: str, settings: ModelSettings, folder: Path, *, files: Files = DISK
    ) -> None:
        self.name = name
        self.settings = settings
        self.folder = folder
        self.events = EventLog()
        self.failure: str | None = None
        self.life: Life | None = None
        self._files = files
        self._state: HostedState = "starting"
        self._paused = PAUSED in files.names(folder)
        self._noting = Lock()
        self._stopping = False
        self.lives = 0  # begun so far
        self._failures = 0  # of the disk, since it last learned
        self._reset: _Reset | None = None  # that comes behind this life
        self._opened = Event()
        self._until = Event()  # ends the life

    @property
    def state(self) -> HostedState:
        """Where it stands."""
        if self._state == "learning" and self._paused:
            return "paused"
        return self._state

    @property
    def waits_for_disk(self) -> bool:
        """Whether nothing can be taken until the disk recovers; it goes on by itself then."""
        return self._failures > 0 or (self.life is not None and self.life.committer.refuses)

    def _enter(self, state: HostedState) -> None:
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
                self._go_on()
                await self._live()
                async with self._noting:  # which may hold the lock that is needed next
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

    def _go_on(self) -> None:
        """Let what comes last until somebody ends it, who may have done so already."""
        self._until = Event()
        if self._stopping or self._reset is not None:
            self._until.set()

    async def _live(self) -> None:
        self.lives += 1
        self.failure = None
        self._enter("starting")
        try:
            await to_thread.run_sync(finish_moving, self.folder)
            networks = await to_thread.run_sync(networks_of, self.settings)
            life = Life(self.folder, self.settings, networks, self.events, files=self._files)
            taken_up = partial(self._enter, "learning")
            await life.run(partial(self._open, life), taken_up, self._until)
        except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001 - told, and kept
            cause = first_cause(error) if isinstance(error, BaseExceptionGroup) else error
            await self._fail(cause)
        finally:
            self._end_life()
            self._close()

    def _close(self) -> None:
        if self._opened.is_set():  # if not, those that wait for it wait for what comes next
            self._opened = Event()

    def _end_life(self) -> None:
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
        self._end_life()
        self._enter("failed")
        self._opened.set()
        with move_on_after(self._seconds_after(error)):
            await self._until.wait()

    def _seconds_after(self, error: Exception) -> float:
        """Seconds until it is tried again: a disk that was full, or away, may have recovered.

        Parts of a model tell what the disk said in words of their own, as its cause.
        """
        if not isinstance(error, OSError) and not (
            isinstance(error, StateError) and isinstance(error.__cause__, OSError)
        ):
            self._failures = 0
            return inf
        self._failures += 1
        return min(_SOONEST * 2.0 ** min(self._failures - 1, 10), _LATEST)

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
            move_aside(self.folder, keep=keep)
        finally:
            lock.release()

    def _open(self, life: Life) -> None:
        self.life = life
        if self._paused:
            life.source.pause()
        if life.publication.taken_up.is_set():
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
        await self._note_pause(paused=True)
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
        await self._note_pause(paused=False)
        if self.life is not None:
            self.life.source.resume()
            if self.life.feeder is not None:
                self.life.feeder.resume()
        if self._state == "failed":
            self._until.set()
            self._close()  # what there was is known
            await self.opened()

    async def _note_pause(self, *, paused: bool) -> None:
        done = False
        while not done:  # another life may have begun
            await self.opened()  # before, nobody knows who is at the folder
            if self._stopping:  # perhaps since it is deleted: its folder must not come back
                raise NotReadyError(f"model {self.name} is {self.state}")
            async with self._noting:  # two at once are one after the other
                if done := self._opened.is_set():
                    await self._note_once(paused)

    async def _note_once(self, paused: bool) -> None:
        if paused == self._paused:
            return
        path = self.folder / PAUSED
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

    def living(self) -> Life:
        """What is alive.

        Raises:
            NotReadyError: If nothing is.
        """
        if self.life is None:
            why = f": {self.failure}" if self.failure else ""
            raise NotReadyError(f"model {self.name} is {self.state}{why}")
        return self.life
