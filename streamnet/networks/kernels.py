"""The kernel that lets each candidate predict, be checked, and learn a block of samples.

One candidate goes through the whole block before the next one starts, so its weights stay in the
first-level cache; within a candidate, samples go strictly one after the other. Activation, loss and
optimiser are chosen by number once a layer or row, never per weight. `steps` holds the parts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamnet.jit import inlined
from streamnet.jit import kernel
from streamnet.networks import steps
from streamnet.networks.topology import PLAN
from streamnet.randomness import mix

__all__ = ("EXPLODED", "Memory", "finite", "learn")

# A score beyond this, in standard units or logits, is taken for an explosion.
EXPLODED = 1e6
# Networks of at most so many weights go through the samples side by side, a few together.
SMALL = 3000
TOGETHER = 2


class Memory(NamedTuple):
    """A ring of the last samples as network inputs; sample t is in slot ``t % slots``.

    The number of slots is a power of two.
    """

    dense: NDArray[np.floating]  # shape=(slots, stride): the inputs, padded with zeros
    row: NDArray[np.int32]  # shape=(slots, width)
    value: NDArray[np.floating]  # shape=(slots, width)
    count: NDArray[np.int32]  # shape=(slots,)
    label: NDArray[np.int32]  # shape=(slots,): class, 0 for a number, -1 for no target
    goal: NDArray[np.floating]  # shape=(slots,): number to learn, in standard units; NaN for a class


@kernel
def learn(
    members: NDArray[np.int64],  # candidates to run, in this order
    plans: NDArray[np.int64],  # shape=(candidates, columns), see topology.PLAN
    factors: NDArray[np.float64],  # shape=(candidates, columns), see topology.FACTORS
    taken: NDArray[np.int64],  # shape=(candidates,): learning steps taken
    healthy: NDArray[np.uint8],  # shape=(candidates,)
    weights: NDArray[np.floating],
    state: NDArray[np.floating],
    scratch: NDArray[np.floating],
    memory: Memory,
    known: NDArray[np.int32],  # shape=(n,): outputs that may be named before sample i
    first: int,  # number of the block's first sample
    inputs: int,  # dense inputs in use
    seed: int,
    answers: NDArray[np.floating],  # shape=(candidates, n, outputs), written
    alive: NDArray[np.uint8],  # shape=(candidates, n), written
) -> None:
    """Test-then-train: answer each sample, then learn it and rehearse earlier ones.

    A sample without a target is answered and not learned. A candidate whose scores are not finite
    or exceed `EXPLODED` is marked unhealthy at that sample and does nothing from there on.
    """
    mask = memory.count.size - 1
    start = 0
    while start < members.size:
        stop = start + 1
        size = plans[members[start], PLAN.size]
        while stop < members.size and stop - start < TOGETHER and size <= SMALL:
            size = max(size, plans[members[stop], PLAN.size])
            stop += 1
        for i in range(known.size):
            for member in range(start, stop):
                k = members[member]
                alive[k, i] = healthy[k]
                if healthy[k] == 0:
                    continue
                plan = plans[k]
                factor = factors[k]
                number = first + i
                now = number & mask
                label = memory.label[now]
                active = max(known[i], label + 1)
                repeats = plan[PLAN.rehearsal] + 1 if label >= 0 else 1
                for repeat in range(repeats):
                    slot = now
                    if repeat > 0:
                        slot = _draw(plan, seed, number, repeat) & mask
                        if memory.label[slot] < 0:
                            continue
                    steps.fetch(memory, slot, inputs, scratch)
                    steps.forward(plan, weights, scratch, memory, slot, inputs, active)
                    sound = steps.finish(plan, scratch, active, EXPLODED)
                    if repeat == 0:
                        if sound:
                            steps.answer(plan, scratch, active, known[i], answers, k, i)
                        else:
                            alive[k, i] = 0
                    if not sound:
                        healthy[k] = 0
                        break
                    if label < 0:
                        break
                    steps.gradient(
                        plan, factor, scratch, active, memory.label[slot], memory.goal[slot]
                    )
                    steps.backward(plan, weights, scratch, active)
                    if factor[steps.CLIP] > 0.0:
                        steps.clip(plan, factor, scratch, memory, slot, inputs, active)
                    steps.update(
                        plan,
                        factor,
                        weights,
                        state,
                        scratch,
                        memory,
                        slot,
                        inputs,
                        active,
                        taken[k],
                    )
                    taken[k] += 1
        start = stop


@inlined
def _draw(plan: NDArray[np.int64], seed: int, number: int, repeat: int) -> int:
    """Number of an earlier sample, one of those in memory."""
    key = mix(mix(np.uint64(seed), np.uint64(plan[PLAN.serial])), np.uint64(number))
    draw = mix(key, np.uint64(repeat))
    reach = min(plan[PLAN.memory], number) + 1
    return number - np.int64(draw % np.uint64(reach))


@kernel
def finite(
    plans: NDArray[np.int64], weights: NDArray[np.floating], healthy: NDArray[np.uint8]
) -> int:
    """Mark candidates with a weight that is not finite as unhealthy; return how many were."""
    found = 0
    for k in range(healthy.size):
        if healthy[k] == 0:
            continue
        start = plans[k, PLAN.start]
        total = weights[start] * 0
        for w in range(start, start + plans[k, PLAN.size]):
            total += weights[w] * 0
        if not total == 0:
            healthy[k] = 0
            found += 1
    return found
