"""Every kind of column has a transformer, and a new transformer is one class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from streamnet.features import Encoder
from streamnet.features.base import TRANSFORMERS, FieldSlot, InputArrays, Transformer
from streamnet.features.inputs import InputEncoder
from streamnet.samples import Block, Kind, Task
from tests.features.blocks import block_of

WORD = ("word", Kind.CATEGORY)


def test_every_kind_has_a_transformer() -> None:
    assert set(TRANSFORMERS) == set(Kind)
    for kind, transformer in TRANSFORMERS.items():
        assert kind in transformer.kinds
        assert transformer.__doc__


def test_transformers_assign_rows_in_the_order_of_kinds() -> None:
    order = list(InputEncoder().transformers)
    assert order == list(dict.fromkeys(TRANSFORMERS[kind] for kind in Kind))


@pytest.fixture
def word_lengths() -> Iterator[None]:
    before = dict(TRANSFORMERS)

    class WordLengths(Transformer, kinds=[Kind.CATEGORY]):
        """Encodes a word as its length divided by that of the longest so far."""

        dense_inputs = 1

        def append(self, slot: FieldSlot) -> None:
            self.longest = np.append(getattr(self, "longest", np.empty(0)), 1.0)

        def plan(
            self, slots: Sequence[FieldSlot], sources: Mapping[str, int], first_key: int
        ) -> int:
            self.own = [(sources[s.field.name], s) for s in slots if s.field.kind in self.kinds]
            return 0

        def transform(self, block: Block, arrays: InputArrays, learn: bool) -> int:
            for source, slot in self.own:
                for i, word in enumerate(block.words[source].tolist()):
                    if learn:
                        self.longest[slot.nth] = max(self.longest[slot.nth], len(word))
                    arrays.dense[i, slot.dense] = len(word) / self.longest[slot.nth]
            return 0

        def export_state(self) -> dict[str, Any]:
            return {"longest": self.longest.copy()}

        def restore_state(self, state: Mapping[str, Any]) -> None:
            self.longest = np.array(state["longest"])

        def decode_dense(self, slot: FieldSlot, dense: NDArray[Any]) -> NDArray[np.float64]:
            lengths: NDArray[np.float64] = dense[:, 0] * self.longest[slot.nth]
            return lengths

    yield
    TRANSFORMERS.clear()
    TRANSFORMERS.update(before)


@pytest.mark.usefixtures("word_lengths")
def test_a_new_transformer_is_one_class() -> None:
    encoder = Encoder(task=Task.CLASSIFICATION)
    block = block_of({("x", Kind.NUMBER): [1.0, 2.0], WORD: ["ab", "abcd"]}, ["u", "v"])
    assert encoder.encode(block).inputs.dense[:, 1].tolist() == [1.0, 1.0]
    restored = Encoder.restore_state(encoder.export_state())
    inputs = restored.transform(block)
    assert inputs.dense[:, 1].tolist() == [0.5, 1.0]
    assert [sample["word"] for sample in restored.inverse(inputs)] == [2.0, 4.0]
