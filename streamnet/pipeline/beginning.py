"""How a run begins: with the state of an earlier one, or with one that is saved at once."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from streamnet.durability.tree import Tree
from streamnet.learning.learner import Learner
from streamnet.learning.search import default_population
from streamnet.modelfiles.model import Model
from streamnet.networks.candidate import CandidateSettings
from streamnet.pipeline.barrier import Barrier
from streamnet.pipeline.reading import Reader
from streamnet.pipeline.recording import Recorder

__all__ = ("begin_outputs", "first_cut", "identity_of", "restore_learning")


def identity_of(
    candidates: Sequence[CandidateSettings] | None,
    start: Model | None,
    learning: Mapping[str, Any],
) -> dict[str, Any]:
    """What of a run's settings decides its result: a state goes on with the same alone."""
    chosen = candidates or default_population(encoder=learning.get("encoder"))
    return {
        "candidates": [settings.as_dict() for settings in chosen],
        "start": None if start is None else start.document()["checksum"],
        **learning,
    }


def restore_learning(learner: Learner, recorder: Recorder, saved: Tree) -> None:
    """Let the stages know what they knew at a cut."""
    learner.restore_state(saved["learner"])
    recorder.rejections.limit.restore_state(saved["limit"])
    if recorder.ledger is not None:
        recorder.ledger.restore_state(saved["ledger"])


def begin_outputs(recorder: Recorder, saved: Tree | None) -> None:
    """Make the outputs, or take them back to where they were at a cut.

    Raises:
        StateError: If a file is not the same any more.
        ConfigurationError: If one can't be written.
    """
    states = {} if saved is None else saved["outputs"]
    for output in recorder.outputs:
        if output.name in states:
            output.restore_state(states[output.name])
        else:
            output.begin()


def first_cut(reader: Reader, learner: Learner, recorder: Recorder) -> Barrier:
    """The cut before the first sample, while no stage is at work."""
    barrier = reader.barrier()
    barrier.encoder = learner.encoder.snapshot()
    barrier.parts = {
        "limit": recorder.rejections.limit.export_state(),
        "trainer": learner.trainer.export_state(),
        "evaluator": learner.evaluator.export_state(),
        "server": learner.server.export_state(),
        "emitted": 0,
    }
    recorder.complete(barrier)
    return barrier
