"""What a state directory holds, for a person: read only, also while a run writes there."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any
from typing import NamedTuple

from streamnet.durability.folder import StateFolder
from streamnet.durability.lock import WriterLock
from streamnet.durability.publisher import Published
from streamnet.durability.publisher import current
from streamnet.durability.tree import Tree
from streamnet.errors import DamagedStateError
from streamnet.errors import StateError
from streamnet.features.encoder import Encoder
from streamnet.learning.drift import EVENTS
from streamnet.learning.serving import CHANGES
from streamnet.learning.serving import DEPARTED
from streamnet.networks.candidate import CandidateSettings
from streamnet.pipeline.rejections import MOST_BYTES
from streamnet.sources.columns import MOST_FIELDS

__all__ = ("Caps", "GenerationView", "Standing", "standing_of")


class GenerationView(NamedTuple):
    """A generation that is there."""

    number: int
    size: int  # bytes
    samples: int | None  # that the source had given; None if it is damaged
    damage: str  # what is wrong, empty if it can be used


class Caps(NamedTuple):
    """How full a bounded table is."""

    name: str
    used: int
    most: int


class Standing(NamedTuple):
    """Where the run of a state directory stands, by its newest generation that can be used."""

    generations: tuple[GenerationView, ...]  # newest first
    tree: Tree  # of the newest that can be used
    current: Published | None
    writer: str  # who writes there now, empty if nobody does
    caps: tuple[Caps, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Records that were read, learned and rejected; the last two add up to the first."""
        return {
            "read": self.tree["reading"]["records"],
            "learned": self.tree["learner"]["trainer"]["number"],
            "rejected": self.tree["outputs"]["rejections"]["total"],
        }


def standing_of(path: Path) -> Standing:
    """Look at a state directory.

    Raises:
        StateError: If it is none.
        DamagedStateError: If no generation can be used.
    """
    folder = StateFolder(path)
    newest: Tree | None = None
    views = []
    for number in reversed(folder.generations.numbers()):
        if (seen := _view(folder, number)) is not None:
            view, tree = seen
            newest = newest or tree
            views.append(view)
    if not views:
        raise StateError(f"{path} holds no state")
    if newest is None:
        raise DamagedStateError(f"no generation in {path} can be used")
    return Standing(
        tuple(views),
        newest,
        current(folder.publisher.folder),
        _writer(path / WriterLock.NAME),
        tuple(_caps(newest)),
    )


def _view(folder: StateFolder, number: int) -> tuple[GenerationView, Tree | None] | None:
    """A generation and what it holds; None if it was removed meanwhile, as a run does."""
    try:
        size = folder.generations.size(number)
    except FileNotFoundError:
        return None
    try:
        tree = folder.generations.load(number)
    except DamagedStateError as error:
        return GenerationView(number, size, None, str(error)), None
    except StateError:
        return None
    return GenerationView(number, size, int(tree["reading"]["number"]), ""), tree


def _writer(lock: Path) -> str:
    """Who holds a lock; asked of the kernel's list, so that nobody is kept from taking it."""
    with suppress(OSError, ValueError):
        status = lock.stat()
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            words = line.split()
            if words[1] == "FLOCK" and int(words[5].split(":")[2]) == status.st_ino:
                return lock.read_text(encoding="utf-8").strip() or f"process {words[4]}"
    return ""


def _caps(tree: Tree) -> list[Caps]:
    return [*_caps_of_inputs(tree), *_caps_of_histories(tree)]


def _caps_of_inputs(tree: Tree) -> list[Caps]:
    state = tree["learner"]["encoder"]
    settings: dict[str, Any] = state["settings"]
    full = Encoder.restore_state(state).statistics()
    fields = (tree["settings"].get("source") or {}).get("most_fields") or MOST_FIELDS
    most = settings["max_categories"]
    words = zip(full.texts, state.get("text_vocabularies", ()), strict=False)
    return [
        Caps("fields", len(state["fields"]), max(fields, len(state["fields"]))),
        Caps("input rows", full.rows, full.max_rows),
        Caps("classes", full.classes, settings["max_classes"]),
        *(Caps(f"categories of {name}", count, most) for name, count in full.categories.items()),
        *(Caps(f"vocabulary of {name}", len(values), most) for name, values in words),
    ]


def _caps_of_histories(tree: Tree) -> list[Caps]:
    learner, letters = tree["learner"], tree["outputs"]["rejections"]
    server, population = learner["server"], learner["trainer"]["population"]
    settings = [CandidateSettings.from_dict(given) for given, *_ in population["members"]]
    reach = max((s.memory for s in settings if s.rehearses), default=0)
    curve = server["curve"]
    window = int(tree["identity"]["rejected_window"])
    return [
        Caps("samples for rehearsal", len(population["memory"]["count"]), reach),
        Caps("points of the curve", len(curve["samples"]), curve["points"]),
        Caps("changes of champion", len(server["changes"]), CHANGES),
        Caps("candidates that went", len(server["departed"]), DEPARTED),
        Caps("drifts", len(server["drift"]["events"]), EVENTS),
        Caps("rejected of the last records", len(tree["limit"]["recent"]), window),
        Caps(
            "bytes of dead letters", letters["length"] or 0, letters.get("most_bytes", MOST_BYTES)
        ),
    ]
