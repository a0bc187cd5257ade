"""How a run begins: with the state of an earlier one, or with one that is saved at once."""

from __future__ import annotations

from streamnet.durability.tree import Tree
from streamnet.learning.learner import Learner
from streamnet.pipeline.barrier import Barrier
from streamnet.pipeline.reading import Reader
from streamnet.pipeline.recording import Recorder

__all__ = ("begin_outputs", "first_cut", "restore_learning")


def restore_learning(learner: Learner, recorder: Recorder, saved: Tree) -> None:
    """Let the stages know what they knew at a cut."""
    learner.restore_state(saved["learner"])
    recorder.rejections.limit.restore_state(saved["limit"])
    if recorder.ledger is not None:
        recorder.ledger.restore_state(saved["ledger"])


def begin_outputs(recorder: Recorder, saved: Tree | None) -> None:
    """Make the outputs, or take them back to where they were at a cut.

    Raises:
        StateError: If a file is not the same any more, or holds what no state knows of.
        ConfigurationError: If one can't be written.
    """
    for output in recorder.outputs:
        if saved is None:
            output.begin()
        elif output.name in saved["outputs"]:
            output.restore_state(saved["outputs"][output.name])
        else:
            output.begin_late()


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
