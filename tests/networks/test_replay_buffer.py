"""The memory of inputs is a window over the stream, however blocks are cut."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamnet.networks.replay_buffer import RARITY, ReplayBuffer
from streamnet.samples import Inputs


def block(first: int, n: int, dense: int, width: int) -> tuple:
    numbers = np.arange(first, first + n)
    inputs = Inputs(
        np.repeat(numbers[:, None], dense, axis=1).astype(np.float32),
        np.repeat(numbers[:, None], width, axis=1).astype(np.int32),
        np.repeat(numbers[:, None], width, axis=1).astype(np.float32),
        np.minimum(numbers % 3, width).astype(np.int32),
        10**6,
        splined=np.repeat(numbers[:, None], width - 1, axis=1).astype(np.int32),
    )
    return inputs, numbers.astype(np.int32), numbers.astype(float), numbers / 3.0, numbers / 7.0


sizes = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 5), st.integers(1, 4)), max_size=12)


@given(reach=st.integers(0, 60), blocks=sizes)
def test_the_buffer_always_holds_the_block_and_the_samples_before_it(reach, blocks) -> None:
    memory = ReplayBuffer(reach=reach, dtype=np.float32)
    first = 0
    dense = width = 1
    for n, more_dense, more_width in blocks:
        dense, width = max(dense, more_dense), max(width, more_width)
        memory.write(first, *block(first, n, dense, width))
        numbers = np.arange(max(0, first - reach), first + n)
        slots = numbers & (len(memory.ring.count) - 1)
        assert memory.ring.label[slots].tolist() == numbers.tolist()
        np.testing.assert_allclose(memory.ring.log_goal[slots], numbers / 3.0, rtol=1e-6)
        np.testing.assert_allclose(memory.ring.importance[slots, RARITY], numbers / 7.0, rtol=1e-6)
        assert memory.ring.dense[slots, 0].tolist() == numbers.tolist()
        assert memory.ring.row[slots, 0].tolist() == numbers.tolist()
        splined = memory.ring.splined[slots]
        latest = numbers >= first
        assert (splined[latest, : width - 1] == numbers[latest, None]).all()
        assert np.isin(splined, (-1, *numbers)).all()
        first += n
