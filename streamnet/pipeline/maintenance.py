"""Inspection and rollback of a state directory from outside the run that writes it.

Inspection is read-only and safe while a run is writing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from streamnet.durability.checkpoint import StateDict
from streamnet.durability.files import DISK, FileSystem
from streamnet.durability.provenance import branch_lineage
from streamnet.durability.state_directory import (
    MIN_GENERATIONS,
    ModelPublisher,
    PublishedModel,
    StateDirectory,
    WriterLock,
    read_pointer,
)
from streamnet.errors import ConfigurationError, DamagedStateError, StateError
from streamnet.features.encoder import Encoder
from streamnet.keyed.rows import list_stored_keys
from streamnet.learning.evaluator import MAX_EVENTS
from streamnet.learning.learner import check_class_change
from streamnet.learning.serving import MAX_CHANGES, MAX_RETIRED
from streamnet.modelfiles import safetensors_format
from streamnet.pipeline.control_messages import list_part_trees
from streamnet.pipeline.parts import check_only_part
from streamnet.samples import ClassChange, KeyRemoval, change_from_list, change_to_list
from streamnet.settings.candidate import CandidateSettings
from streamnet.sources.columns import MAX_FIELDS

NO_KEYS = "the run has no key, so there are no models of keys"


class GenerationStatus(NamedTuple):
    """An existing generation."""

    number: int
    size: int  # bytes
    samples: int | None  # read before it; None if it is damaged
    damage: str  # empty if it is intact


class TableUsage(NamedTuple):
    """How full a bounded table is."""

    name: str
    used: int
    most: int


class PartStatus(NamedTuple):
    """Progress of one part of a run; most runs have no other."""

    tree: StateDict
    current: PublishedModel | None
    caps: tuple[TableUsage, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Records read, learned, and rejected; the last two add up to the first."""
        return {
            "read": self.tree["reading"]["records"],
            "learned": self.tree["learner"]["trainer"]["number"],
            "rejected": self.tree["outputs"]["rejections"]["total"],
        }


class StateStatus(NamedTuple):
    """Progress of the run of a state directory, by its newest intact generation."""

    generations: tuple[GenerationStatus, ...]  # newest first
    tree: StateDict  # of the newest intact one
    writer: str  # the process that writes there, empty if none does
    parts: dict[str, PartStatus]  # by name, which is empty for the only one


def read_state_status(path: Path) -> StateStatus:
    """Inspect a state directory; an error if it is none, or all its generations are damaged."""
    folder = StateDirectory(path)
    newest: StateDict | None = None
    views = []
    for number in reversed(folder.generations.numbers()):
        if (seen := _read_generation(folder, number)) is not None:
            view, tree = seen
            newest = newest or tree
            views.append(view)
    if not views:
        raise StateError(f"{path} holds no state")
    if newest is None:
        raise DamagedStateError(f"no generation in {path} can be used")
    split_folder(folder, newest)
    parts = {}
    for name, part in list_part_trees(newest).items():
        tree = {**newest, **part}
        pointer = read_pointer(folder.publishers[name].folder)
        parts[name] = PartStatus(tree, pointer, (*_input_usage(tree), *_history_usage(tree)))
    return StateStatus(tuple(views), newest, WriterLock.find_holder(path), parts)


def split_folder(folder: StateDirectory, tree: StateDict) -> None:
    """Give a state directory the folders of the parts of its run."""
    if "parts" in tree:
        folder.split({name: part["slug"] for name, part in tree["parts"].items()})


def _read_generation(
    folder: StateDirectory, number: int
) -> tuple[GenerationStatus, StateDict | None] | None:
    """A generation and its content; None if the run has removed it meanwhile."""
    try:
        size = folder.generations.size(number)
    except FileNotFoundError:
        return None
    try:
        tree = folder.generations.load(number)
    except DamagedStateError as error:
        return GenerationStatus(number, size, None, str(error)), None
    except StateError:
        return None
    return GenerationStatus(number, size, int(tree["reading"]["number"]), ""), tree


def _input_usage(tree: StateDict) -> list[TableUsage]:
    state = tree["learner"]["encoder"]
    settings: dict[str, Any] = state["settings"]
    full = Encoder.restore_state(state).statistics()
    fields = (tree["settings"].get("source") or {}).get("most_fields") or MAX_FIELDS
    most = settings["max_categories"]
    words = zip(full.texts, state.get("text_vocabularies", ()), strict=False)
    return [
        TableUsage("fields", len(state["fields"]), max(fields, len(state["fields"]))),
        TableUsage("input rows", full.rows, full.max_rows),
        TableUsage("classes", full.classes, settings["max_classes"]),
        *(
            TableUsage(f"categories of {name}", count, most)
            for name, count in full.categories.items()
        ),
        *(TableUsage(f"vocabulary of {name}", len(values), most) for name, values in words),
    ]


def _history_usage(tree: StateDict) -> list[TableUsage]:
    learner, letters = tree["learner"], tree["outputs"]["rejections"]
    serving, population = learner["serving"], learner["trainer"]["population"]
    settings = [CandidateSettings.from_dict(given) for given, *_ in population["members"]]
    reach = max((s.memory for s in settings if s.rehearses), default=0)
    curve = serving["curve"]
    window = int(tree["identity"]["rejected_window"])
    return [
        TableUsage("samples for rehearsal", len(population["memory"]["count"]), reach),
        TableUsage("points of the curve", len(curve["samples"]), curve["points"]),
        TableUsage("changes of champion", len(serving["changes"]), MAX_CHANGES),
        TableUsage("candidates that went", len(serving["retired"]), MAX_RETIRED),
        TableUsage("drifts", len(serving["drift"]["events"]), MAX_EVENTS),
        TableUsage("rejected of the last records", len(tree["limit"]["recent"]), window),
        TableUsage("bytes of dead letters", letters["length"] or 0, letters["most_bytes"]),
    ]


@contextmanager
def _open_to_change(path: Path, files: FileSystem) -> Iterator[StateDirectory]:
    """Open a state directory to add a generation to it, from outside of a run."""
    there = len(files.names(path / "checkpoints"))
    if not there:
        raise StateError(f"{path} is not a state directory")
    # Keeps enough generations that none is removed.
    folder = StateDirectory(path, generations=max(MIN_GENERATIONS, there + 1), files=files)
    folder.open()
    try:
        yield folder
    except OSError as error:
        raise StateError(f"state {path}: {error.strerror}") from error
    finally:
        folder.close()


def roll_back(path: Path, generation: int, *, files: FileSystem = DISK) -> int:
    """Make the next run resume from an earlier generation, under a new lineage.

    Nothing is removed: the earlier generation is written again as the newest, whose number is
    returned. When the run resumes, it removes the generations in between and truncates its files to
    their earlier lengths. ``current.json`` names the model that was the newest at that time, if it
    still exists.
    """
    with _open_to_change(path, files) as folder:
        tree = folder.generations.load(generation)
        number = folder.generations.numbers()[-1] + 1
        split_folder(folder, tree)
        before = {
            name: _find_published(folder.publishers[name], part["emitted"], tree["lineage"])
            for name, part in list_part_trees(tree).items()
        }
        tree["rolled_back_to"] = min(generation, tree.get("rolled_back_to", generation))
        tree["lineage"] = branch_lineage(tree["lineage"], generation, number)
        for name, model in before.items():
            folder.publishers[name].point(model)
        return folder.generations.save(tree)


def change_classes(path: Path, change: ClassChange, *, files: FileSystem = DISK) -> int:
    """Make the next run merge or retire a class before its first sample.

    The newest generation is written again with the change, as one whose number is returned.

    Raises:
        ConfigurationError: If the change is impossible.
        StateError: If there is no state, or another process uses it.
    """
    with _open_to_change(path, files) as folder:
        tree = _load_newest(folder)
        encoder = Encoder.restore_state(tree["learner"]["encoder"])
        waiting = tree["reading"].setdefault("changes", [])
        for earlier in map(change_from_list, waiting):
            if isinstance(earlier, ClassChange):
                encoder.label_numbers.change(earlier)
        check_class_change(encoder, change, keyed=tree["learner"]["keyed"] is not None)
        waiting.append(change_to_list(change))
        return folder.generations.save(tree)


def forget_keys(path: Path, keys: Sequence[str], *, files: FileSystem = DISK) -> int:
    """Make the next run forget keys before its first sample, like `change_classes`.

    Raises:
        ConfigurationError: If keys have no models, or one of them is not known.
        StateError: If there is no state, or another process uses it.
    """
    with _open_to_change(path, files) as folder:
        tree = _load_newest(folder)
        learner, waiting = tree["learner"], tree["reading"].setdefault("changes", [])
        if learner["keyed"] is None:
            raise ConfigurationError(NO_KEYS)
        known = list_stored_keys(learner["keyed"]["rows"], folder.generations.rows)
        known -= {values[1] for values in waiting if values[0] == "forgotten"}
        for key in keys:
            if key not in known:
                raise ConfigurationError(f"KEY is {key!r}, but there is no such key in {path}")
        waiting += [change_to_list(KeyRemoval(key)) for key in dict.fromkeys(keys)]
        return folder.generations.save(tree)


def _load_newest(folder: StateDirectory) -> StateDict:
    """The newest intact generation of a run that has no other part."""
    newest = folder.generations.newest()
    if newest is None:
        raise DamagedStateError(f"no generation in {folder.path} can be used")
    check_only_part(list_part_trees(newest.tree))
    return newest.tree


def _find_published(
    publisher: ModelPublisher, generation: int, lineage: str
) -> PublishedModel | None:
    """The last model that was emitted before a checkpoint, if its file still exists."""
    name = publisher.file_name(generation, lineage)
    if name not in publisher.names():
        return None
    file = publisher.folder / name
    data = publisher.files.read(file)
    samples = int(safetensors_format.decode(data, str(file))["about"]["samples"])
    return PublishedModel(name, generation, lineage, samples, hashlib.sha256(data).hexdigest())
