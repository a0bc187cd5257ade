"""Barrier: what travels behind a block so that all stages save their state at the same sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import final

from streamnet.durability.tree import Tree
from streamnet.features.snapshot import EncoderSnapshot
from streamnet.learning.trainer import Decision
from streamnet.pipeline.outputs import Output

__all__ = ("Barrier", "pending")


@final
@dataclass
class Barrier:
    """A cut through the stream; each stage that it passes puts a copy of its state in.

    Copies are all that learning waits for: files are written behind the last stage.
    """

    reading: Tree  # where the source stands, and how much it gave
    last: bool = False  # nothing follows
    encoder: EncoderSnapshot | None = None
    parts: dict[str, Any] = field(default_factory=dict)  # of stages that need only copies
    outputs: Sequence[Output] = ()  # to be put on the disk before the checkpoint

    @property
    def number(self) -> int:
        """Samples that the source had given."""
        return int(self.reading["number"])

    def tree(self) -> Tree:
        """The state of all stages, once the barrier has passed them."""
        assert self.encoder is not None
        parts = dict(self.parts)
        learner = {name: parts.pop(name) for name in ("trainer", "evaluator", "server")}
        return {
            "reading": self.reading,
            "learner": {"encoder": self.encoder.materialise(), **learner},
            **parts,
        }


def pending(decisions: Sequence[Decision], trainer: dict[str, Any]) -> list[Decision]:
    """Those of the last two decisions that the trainer had not applied when its state was copied.

    The decision on round r is applied at the start of round r + 2, so the state tells it: whether a
    decision had arrived or was on its way makes no difference.
    """
    oldest = trainer["round"] - (2 if trainer["at_start"] else 1)
    return [decision for decision in decisions if decision.round >= oldest]
