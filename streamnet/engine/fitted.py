"""FittedEncoder: an encoder that has learned the training part, and learns no more."""

from __future__ import annotations

from typing import final

import numpy as np

from streamnet.errors import DataError
from streamnet.features.encoded import Encoded
from streamnet.features.encoder import Encoder
from streamnet.features.snapshot import EncoderSnapshot
from streamnet.features.target import NO_TARGETS
from streamnet.samples import Block
from streamnet.samples import Task

__all__ = ("FittedEncoder",)


@final
class FittedEncoder:
    """Encodes the same samples alike in every epoch, with what the training part has told.

    A label that the training part lacks gets a number behind all classes that can be answered, so
    that it is always missed.

    Args:
        encoder: What learns ``training``.
        training: The only samples that anything is learned from.
        held_out: Samples that will be encoded as well, whose labels are to have numbers.

    Raises:
        DataError: If they have more labels than there may be.

    >>> from streamnet.sources.columns import Columns
    >>> from streamnet.sources.rows import RowReader
    >>> rows = [{"x": 1.0, "y": "a"}, {"x": 3.0, "y": "b"}, {"x": 9.0, "y": "c"}]
    >>> block = RowReader(Columns(target="y")).read(rows)
    >>> parts = block.part(0, 2), block.part(2, 3)
    >>> fitted = FittedEncoder(Encoder(task=Task.CLASSIFICATION), *parts)
    >>> encoded = fitted.encode(block)
    >>> encoded.label.tolist(), encoded.known.tolist(), encoded.inputs.dense[:, 0].tolist()
    ([0, 1, 2], [2, 2, 2], [-1.0, 1.0, 7.0])
    """

    def __init__(self, encoder: Encoder, training: Block, held_out: Block | None = None) -> None:
        if len(encoder.encode(training).block) < len(training):
            assert training.target is not None
            raise DataError(
                f"target {training.schema.target!r} has {len(set(training.target.tolist())):,} "
                f"labels in the training part, but there may be {len(encoder.labels):,}; "
                "task regression predicts numbers"
            )
        self._encoder = encoder
        labels = dict.fromkeys(encoder.labels)
        if encoder.task is Task.CLASSIFICATION and held_out is not None:
            assert held_out.target is not None
            labels |= dict.fromkeys(held_out.target.tolist())
        self._numbers = {label: number for number, label in enumerate(labels)}

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label, those that can be answered first."""
        return tuple(self._numbers)

    def refused(self, block: Block) -> list[int]:
        """The samples that `encode` would refuse: none, a new label is no target."""
        del block
        return []

    def encode(self, block: Block) -> Encoded:
        """Inputs and targets of samples; all of them must have a target."""
        assert block.target is not None
        if self._encoder.task is Task.REGRESSION:
            return self._encoder.apply(block)
        inputs, n = self._encoder.transform(block), len(block)
        label = np.fromiter(map(self._numbers.__getitem__, block.target.tolist()), np.int32, n)
        known = np.full(n, len(self._encoder.labels), np.int32)
        return Encoded(block, inputs, label, known, *NO_TARGETS)

    def snapshot(self) -> EncoderSnapshot:
        """What was learned from the training part."""
        return self._encoder.snapshot()
