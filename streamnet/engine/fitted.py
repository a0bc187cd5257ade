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

    Raises:
        DataError: If they have more labels than there may be.

    >>> from streamnet.sources.columns import Columns
    >>> from streamnet.sources.rows import RowReader
    >>> rows = [{"x": 1.0, "y": "a"}, {"x": 3.0, "y": "b"}, {"x": 9.0, "y": "c"}]
    >>> block = RowReader(Columns(target="y")).read(rows)
    >>> fitted = FittedEncoder(Encoder(task=Task.CLASSIFICATION), block.part(0, 2))
    >>> encoded = fitted.encode(block)
    >>> encoded.label.tolist(), encoded.known.tolist(), encoded.inputs.dense[:, 0].tolist()
    ([0, 1, 2], [2, 2, 2], [-1.0, 1.0, 7.0])
    """

    def __init__(self, encoder: Encoder, training: Block) -> None:
        if len(encoder.encode(training).block) < len(training):
            assert training.target is not None
            raise DataError(
                f"target {training.schema.target!r} has {len(set(training.target.tolist())):,} "
                f"labels in the training part, but there may be {len(encoder.labels):,}; "
                "task regression predicts numbers"
            )
        self._encoder = encoder
        self._numbers = {label: number for number, label in enumerate(encoder.labels)}

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label met so far, those that can be answered first."""
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
        numbers = self._numbers
        label = np.array([numbers.setdefault(name, len(numbers)) for name in block.target.tolist()])
        known = np.full(n, len(self._encoder.labels), np.int32)
        return Encoded(block, inputs, label.astype(np.int32), known, *NO_TARGETS)

    def snapshot(self) -> EncoderSnapshot:
        """What was learned from the training part."""
        return self._encoder.snapshot()
