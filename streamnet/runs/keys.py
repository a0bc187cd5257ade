"""The models of keys in a state directory: listed, described, and exported."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import signature
from pathlib import Path
from typing import Any, final

from streamnet.durability.checkpoint import StateDict
from streamnet.durability.row_files import RowFolder
from streamnet.durability.state_directory import StateDirectory
from streamnet.errors import ConfigurationError, StateError
from streamnet.keyed import KeyedEncoder, KeyedModels, KeyScores
from streamnet.learning.learner import Learner, list_row_tables
from streamnet.modelfiles.model import Model
from streamnet.pipeline.control_messages import list_part_trees
from streamnet.pipeline.maintenance import NO_KEYS
from streamnet.pipeline.parts import check_only_part
from streamnet.samples import KeyRemoval, change_from_list
from streamnet.settings.candidate import CandidateSettings


@final
class StoredKeys:
    """The models of the keys of a run, as of its newest checkpoint; read-only.

    Args:
        path: The state directory.

    Raises:
        ConfigurationError: If the run has no key.
        StateError: If there is no state, or it is damaged.
    """

    def __init__(self, path: Path) -> None:
        generations = StateDirectory(path).generations
        newest = generations.newest()
        if newest is None:
            raise StateError(f"{path} holds no state")
        check_only_part(list_part_trees(newest.tree))
        self._path = path
        self._target = newest.tree["settings"].get("source", {}).get("target")
        self._learner = _restore_learner(newest.tree, generations.rows)
        for change in map(change_from_list, newest.tree["reading"].get("changes", ())):
            if isinstance(change, KeyRemoval):  # the next run will forget it
                self._learner.forget_key(change.key)
        self._encoder, self._models = _find_keyed(self._learner)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the key."""
        return self._encoder.columns

    def list_scores(self) -> Iterator[KeyScores]:
        """What is known about each key, in alphabetical order."""
        return filter(None, map(self._models.describe, sorted(self._models.rows.list_keys())))

    def describe(self, key: str) -> KeyScores:
        """What is known about a key; an error if there is none."""
        scores = self._models.describe(key)
        if scores is None:
            raise ConfigurationError(f"KEY is {key!r}, but there is no such key in {self._path}")
        return scores

    def read_targets(self, key: str) -> dict[str, Any]:
        """The last targets of a key, their mean, and the one of a season ago, by name."""
        return self._encoder.history.read_last(key)

    def build_model(self, key: str) -> Model:
        """The model of a key; an error if there is none."""
        self.describe(key)
        return self._learner.key_model(key, target=self._target)


def hash_rows(tree: StateDict, rows: RowFolder) -> StateDict:
    """The state of a run, with a hash of the rows of keys in place of the files that hold them."""
    for part in list_part_trees(tree).values():
        if part["learner"]["keyed"] is not None:
            learner = _restore_learner({**tree, **part}, rows)
            tables = list_row_tables(part["learner"])
            for table, found in zip(tables, learner.list_rows(), strict=True):
                table["rows"] = {"sha256": found.hash()}
    return tree


def _restore_learner(tree: StateDict, rows: RowFolder) -> Learner:
    """The learner of a checkpoint."""
    if tree["learner"]["keyed"] is None:
        raise ConfigurationError(NO_KEYS)
    # None stands for what is not there, such as the effort of a run with the default.
    identity = {name: value for name, value in tree["identity"].items() if value is not None}
    identity.pop("start", None)
    identity["candidates"] = [CandidateSettings.from_dict(one) for one in identity["candidates"]]
    given = {name: identity[name] for name in signature(Learner).parameters if name in identity}
    task = tree["learner"]["encoder"]["settings"]["task"]
    learner = Learner(**{**given, "task": task, "forecasts": True})
    learner.keep_rows_in(rows)
    learner.restore_state(tree["learner"])
    return learner


def _find_keyed(learner: Learner) -> tuple[KeyedEncoder, KeyedModels]:
    encoder, models = learner.keyed, learner.serving.contenders.keyed
    assert encoder is not None
    assert models is not None
    return encoder, models
