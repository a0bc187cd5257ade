"""What an engine can learn, and what it refuses to take for it."""

from __future__ import annotations

from typing import Any

import anyio
import numpy as np
import pytest

from streamnet.engine.data import EpochCutter, Epochs
from streamnet.errors import ConfigurationError
from streamnet.samples import Block
from tests.engine.sets import moons, quick


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (None, "data is of type NoneType, but must be a Set, blocks, or names of files"),
        (np.eye(3), "data is of type ndarray, but must be a Set"),
        ([{"x": 1.0}], "data has {'x': 1.0}, but must have blocks or names of files"),
        ([1, 2], "data has 1, but must have blocks"),
        ([moons().block(), "a.csv"], "data has 'a.csv' beside blocks, but must be all blocks or"),
    ],
)
def test_data_of_another_kind_are_refused(data: Any, what: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        quick().fit(data)
    assert str(caught.value).startswith(what)


def played(source: Epochs) -> list[Block]:
    async def play() -> list[Block]:
        await source.open()
        blocks = []
        while (block := await source.receive()) is not None:
            blocks.append(block)
        return blocks

    return anyio.run(play)


def numbers(block: Block) -> list[int]:
    """Which samples of the set a block holds."""
    return [int(record) for record in block.marks[:-1, 1]]


WHOLE = moons(10).block()
TRAINING, HELD_OUT = WHOLE.part(0, 7), WHOLE.part(7, 10)


def test_each_epoch_has_every_sample_once_in_an_order_of_its_own() -> None:
    blocks = played(Epochs(TRAINING, HELD_OUT, epochs=3, seed=1))
    assert [block.learned for block in blocks] == [True, False] * 3
    orders = [numbers(block) for block in blocks[::2]]
    assert [sorted(order) for order in orders] == [list(range(7))] * 3
    assert len({tuple(order) for order in orders}) == 3
    assert [numbers(block) for block in blocks[1::2]] == [[7, 8, 9]] * 3


def test_the_seed_decides_the_order_and_nothing_else_does() -> None:
    orders = [
        [numbers(block) for block in played(Epochs(TRAINING, None, epochs=2, seed=seed))]
        for seed in (1, 1, 2)
    ]
    assert orders[0] == orders[1] != orders[2]


def test_the_order_of_the_file_is_kept_without_shuffling() -> None:
    blocks = played(Epochs(TRAINING, None, epochs=2, shuffled=False))
    assert [numbers(block) for block in blocks] == [list(range(7))] * 2


@pytest.mark.parametrize(
    ("iterations", "lengths"), [(1, [1]), (7, [7]), (10, [7, 3]), (99, [7] * 3)]
)
def test_iterations_bound_the_samples_to_learn(iterations: int, lengths: list[int]) -> None:
    blocks = played(Epochs(TRAINING, HELD_OUT, epochs=3, iterations=iterations))
    assert [len(block) for block in blocks if block.learned] == lengths
    assert sum(not block.learned for block in blocks) == len(lengths)


def test_a_round_ends_with_the_last_held_out_block() -> None:
    cutter = EpochCutter(block_size=2, held_out=True)
    source = Epochs(TRAINING, HELD_OUT, epochs=1)
    pieces = [piece for block in played(source) for piece in cutter.cut(block)]
    assert [len(piece.block) for piece in pieces] == [2, 2, 2, 1, 2, 1]
    assert [piece.ends_round for piece in pieces] == [False] * 5 + [True]
    assert (cutter.number, source.progress()) == (10, 1.0)


def test_without_a_held_out_part_a_round_ends_with_the_last_learned_block() -> None:
    cutter = EpochCutter(block_size=4, held_out=False)
    pieces = [p for block in played(Epochs(TRAINING, None, epochs=2)) for p in cutter.cut(block)]
    assert [piece.ends_round for piece in pieces] == [False, True] * 2
