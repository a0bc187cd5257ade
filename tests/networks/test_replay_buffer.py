"""The memory of inputs is a window over the stream, however blocks are cut."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamnet.networks.replay_buffer import ReplayBuffer
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
def test_the_last_samples_and_the_block_are_always_there(reach, blocks) -> None:
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
        np.testing.assert_allclose(memory.ring.rarity[slots], numbers / 7.0, rtol=1e-6)
        assert memory.ring.dense[slots, 0].tolist() == numbers.tolist()
        assert memory.ring.row[slots, 0].tolist() == numbers.tolist()
        splined = memory.ring.splined[slots]
        latest = numbers >= first
        assert (splined[latest, : width - 1] == numbers[latest, None]).all()
        assert np.isin(splined, (-1, *numbers)).all()
        first += n


def test_a_memory_of_before_there_were_logarithms_has_a_goal_for_who_learns_them() -> None:
    memory = ReplayBuffer(reach=20, dtype=np.float32)
    memory.write(0, *block(0, 10, 2, 2))
    state = memory.export_state(10)
    del state["log_goal"]
    other = ReplayBuffer(reach=20, dtype=np.float32)
    other.restore_state(10, state)
    assert np.array_equal(other.export_state(10)["log_goal"], state["goal"], equal_nan=True)


@given(reach=st.integers(1, 60), blocks=sizes)
def test_a_restored_memory_holds_the_same_window(reach, blocks) -> None:
    memory = ReplayBuffer(reach=reach, dtype=np.float32)
    first = 0
    for n, _, _ in blocks:
        memory.write(first, *block(first, n, 2, 2))
        first += n
    other = ReplayBuffer(reach=reach, dtype=np.float32)
    other.restore_state(first, memory.export_state(first))
    for one in (memory, other):
        one.write(first, *block(first, 7, 2, 2))
    left, right = memory.export_state(first + 7), other.export_state(first + 7)
    for name, array in left.items():
        assert np.array_equal(array, right[name], equal_nan=True), name


@given(n=st.integers(1, 20), told=st.sets(st.integers(0, 3)))
def test_targets_that_nobody_tells_are_as_good_as_none(n: int, told: set[int]) -> None:
    untold = -np.ones(n, np.int32), np.full(n, np.nan), np.full(n, np.nan), np.ones(n)
    inputs, *targets = block(0, n, 2, 2)
    memory, other = (ReplayBuffer(reach=20, dtype=np.float32) for _ in range(2))
    for written in (memory, other):
        written.write(0, *block(50, 20, 2, 2))  # what is left of earlier samples shows nowhere
    short: list[Any] = [targets[i] if i in told else untold[i][:0] for i in range(4)]
    whole: list[Any] = [targets[i] if i in told else untold[i] for i in range(4)]
    memory.write(0, inputs, *short)
    other.write(0, inputs, *whole)
    for left, right in zip(memory.ring, other.ring, strict=True):
        assert left.tobytes() == right.tobytes()
