"""What the stages need of the parts that work in them, whoever makes these.

A stream is learned with the parts of `streamnet.learning`, a set in epochs with those of
`streamnet.engine`.
"""

from __future__ import annotations

from typing import Any
from typing import Protocol
from typing import TypeVar

from streamnet.features.encoded import Encoded
from streamnet.features.snapshot import EncoderSnapshot
from streamnet.learning.trainer import Decision
from streamnet.learning.trainer import Scored
from streamnet.samples import Block

__all__ = ("BlockEncoder", "Chooser", "Chosen", "Judge", "Judgement", "Stateless")


class Judgement(Protocol):
    """A block with what an evaluator found."""

    @property
    def scored(self) -> Scored:
        """The block."""


class Chosen(Protocol):
    """What a chooser made of a block."""

    @property
    def decision(self) -> Decision | None:
        """If the block ends a round, what the trainer shall do."""


J_co = TypeVar("J_co", bound=Judgement, covariant=True)
J_contra = TypeVar("J_contra", bound=Judgement, contravariant=True)
C_co = TypeVar("C_co", bound=Chosen, covariant=True)


class BlockEncoder(Protocol):
    """Turns blocks into inputs and targets."""

    def refused(self, block: Block) -> list[int]:
        """The samples, by row, that `encode` would refuse."""

    def encode(self, block: Block) -> Encoded:
        """Inputs and targets of the next samples."""

    def snapshot(self) -> EncoderSnapshot:
        """What it knows now."""


class Judge(Protocol[J_co]):
    """Scores what the candidates answered."""

    def evaluate(self, scored: Scored) -> J_co:
        """Score a block."""

    def export_state(self) -> dict[str, Any]:
        """Everything needed to go on."""


class Chooser(Protocol[J_contra, C_co]):
    """Follows the scores and chooses among the candidates."""

    def serve(self, judged: J_contra) -> C_co:
        """Choose, and decide if the block ends a round."""

    def export_state(self) -> dict[str, Any]:
        """Everything needed to go on."""


class Stateless:
    """A part of a run without checkpoints."""

    def export_state(self) -> dict[str, Any]:
        """Nothing."""
        return {}
