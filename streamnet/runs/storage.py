"""Where a run writes: on this machine or in buckets."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, final

from streamnet.durability.bucket import BucketFiles
from streamnet.durability.files import DISK, FileSystem
from streamnet.errors import ConfigurationError
from streamnet.objects import can_list, is_url
from streamnet.pipeline.parts import list_parts
from streamnet.pipeline.rejections import STATE_DEAD_LETTERS
from streamnet.settings.run import RunSettings
from streamnet.settings.sinks import find_sink


class Place(NamedTuple):
    """A file or folder, and the file system that it is in."""

    path: Path
    files: FileSystem


@final
class RunStorage:
    """The state directory of a run, and its files that grow.

    Those in a bucket have a local copy, which is removed by `close`.

    Args:
        settings: Settings of the run.
        resume: Whether existing files are continued.
    """

    DEAD_LETTERS = "rejected.jsonl"

    def __init__(self, settings: RunSettings, *, resume: bool) -> None:
        self._resume = resume
        self._parts = list_parts(settings.source.targets, settings.evaluation.horizon)
        self._buckets: dict[str, BucketFiles] = {}
        self._growing: list[Place] = []  # in buckets, outside of the state directory
        self.state: Place | None = None
        if (folder := settings.state.dir) is not None:
            if "://" in folder and not (is_url(folder) and can_list(folder)):
                rule = "must be a folder, or one of a bucket: s3://, gs:// or az://"
                raise ConfigurationError(f"state is {folder!r}, but {rule}")
            files = self._open_bucket(folder) if is_url(folder) else None
            self.state = Place(Path(folder), DISK) if files is None else Place(files.copy, files)
        # None: they are sent to a sink.
        self.dead_letters: Place | None = self._find_dead_letters(settings)
        given = settings.output.predictions
        is_file = given is not None and find_sink(given) is None
        self.predictions: Place | None = self._place(str(given)) if is_file else None

    def store(self) -> None:
        """Store files that have grown, each as one object. Storing twice is allowed.

        Raises:
            OSError: If that fails.
        """
        while self._growing:
            path, files = self._growing[-1]
            assert isinstance(files, BucketFiles)
            if path.exists():
                files.join(path)
            self._growing.pop()

    def close(self) -> None:
        """Remove local copies. Closing twice is allowed."""
        for files in self._buckets.values():
            files.discard()

    def _find_dead_letters(self, settings: RunSettings) -> Place | None:
        if settings.output.dead_letters:
            if find_sink(settings.output.dead_letters) is not None:
                return None
            return self._place(settings.output.dead_letters)
        if self.state is None:
            return Place(Path(self.DEAD_LETTERS), DISK)
        return Place(self.state.path / STATE_DEAD_LETTERS, self.state.files)

    def _place(self, path: str) -> Place:
        if not is_url(path):
            return Place(Path(path), DISK)
        folder, _, name = path.rpartition("/")
        files = self._open_bucket(folder)
        for own in dict.fromkeys((name, *(part.place(name) for part in self._parts))):
            if self._resume:
                files.pull(own)
            self._growing.append(Place(files.copy / own, files))
        return Place(files.copy / name, files)

    def _open_bucket(self, url: str) -> BucketFiles:
        if url not in self._buckets:
            self._buckets[url] = BucketFiles(url)
        return self._buckets[url]
