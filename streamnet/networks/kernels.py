"""The kernel that lets each candidate predict, be checked, and learn a block of samples.

One candidate goes through the whole block before the next one starts, so its weights stay in the
first-level cache; within a candidate, samples go strictly one after the other. Activation, loss and
optimiser are chosen by number once a layer or row, never per weight. Its parts are in
`forward`, `backward` and `update`, inlined.
"""

from __future__ import annotations

from typing import Any
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamnet.jit import inlined
from streamnet.jit import kernel
from streamnet.networks import simd
from streamnet.networks.backward import backward
from streamnet.networks.backward import clip
from streamnet.networks.backward import gradient
from streamnet.networks.backward import weigh
from streamnet.networks.batch import move
from streamnet.networks.forward import answer
from streamnet.networks.forward import fetch
from streamnet.networks.forward import finish
from streamnet.networks.forward import forward
from streamnet.networks.topology import FACTORS
from streamnet.networks.topology import PLAN
from streamnet.randomness import mix

__all__ = ("EARLY", "Memory", "finite", "learn")

EARLY = 1024  # samples of which each is followed by all of early rehearsal


class Memory(NamedTuple):
    """A ring of the last samples as network inputs; sample t is in slot ``t % slots``.

    The number of slots is a power of two.
    """

    dense: NDArray[np.floating]  # shape=(slots, stride): the inputs, padded with zeros
    row: NDArray[np.int32]  # shape=(slots, width)
    value: NDArray[np.floating]  # shape=(slots, width)
    count: NDArray[np.int32]  # type: ignore[assignment]  # shape=(slots,); not tuple's method
    label: NDArray[np.int32]  # shape=(slots,): class, 0 for numbers, -1 for no target
    # shape=(slots, goals): numbers to learn, one for each output; or one that is NaN for a class
    goal: NDArray[np.floating]
    splined: NDArray[np.int32]  # shape=(slots, most): dense inputs of more than two values, -1
    log_goal: NDArray[np.floating]  # shape=(slots,): for those that learn logarithms of numbers
    rarity: NDArray[np.floating]  # shape=(slots,): of the sample's class, see balance.ClassCounts


@kernel
def learn(
    members: NDArray[np.int64],  # candidates to run, in this order
    plans: NDArray[np.int64],  # shape=(candidates, columns), see topology.PLAN
    factors: NDArray[np.float64],  # shape=(candidates, columns), see topology.FACTORS
    taken: NDArray[np.int64],  # shape=(candidates,): samples learned, rehearsed ones included
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
    or exceed its limit is marked unhealthy at that sample and does nothing from there on.
    """
    mask = memory.count.size - 1
    samples = known.size
    for member in range(members.size):
        k = np.uint64(members[member])
        plan = plans[k]
        factor = factors[k]
        # What lies beyond the outputs in use, and fills up vectors, must be zero.
        for j in range(scratch.size):
            simd.put(scratch, j, 0)
        i = 0
        repeat = 0
        while i < samples:
            number = first + i
            now = number & mask
            label = simd.fact(memory.label, now)
            nameable = simd.fact(known, i)
            active = max(nameable, label + 1)
            slot = now
            if repeat > 0:
                slot = _draw(plan, seed, number, repeat) & mask
            else:
                simd.put(alive, k * samples + i, healthy[k])
            truth = simd.fact(memory.label, slot)
            if healthy[k] == 1 and (repeat == 0 or truth >= 0):
                fetch(memory, slot, inputs, scratch)
                forward(plan, weights, scratch, memory, slot, active)
                sound = finish(plan, scratch, active, simd.fact(factor, FACTORS.score_limit))
                if not sound:
                    healthy[k] = 0
                if repeat == 0:
                    simd.put(alive, k * samples + i, sound)
                    answer(plan, scratch, nameable, memory.goal.shape[1], answers, k, i)
                if sound and truth >= 0:
                    gradient(plan, factor, scratch, memory, slot, active)
                    if simd.fact(factor, FACTORS.class_weight) > 0.0:
                        weigh(plan, factor, scratch, memory, slot, active)
                    backward(plan, weights, scratch, active)
                    if simd.fact(factor, FACTORS.clip) > 0.0:
                        clip(plan, factor, scratch, memory, slot, inputs, active)
                    move(plan, factor, weights, state, scratch, memory, slot, active, taken[k])
                    taken[k] += 1
            # One loop over samples and rehearsals: what depends on the sample alone is cheap, and
            # compilers would move much more of it out of an inner loop than is ever used.
            repeat += 1
            if repeat > _repeats(plan, number) or label < 0:
                repeat = 0
                i += 1


@inlined
def _repeats(plan: Any, number: int) -> Any:
    """How many earlier samples are learned after sample ``number``."""
    early = simd.fact(plan, PLAN.early_rehearsal)
    return max(simd.fact(plan, PLAN.rehearsal), min(early, EARLY * early // (number + 1)))


@inlined
def _draw(plan: Any, seed: int, number: int, repeat: int) -> Any:
    """Number of an earlier sample, one of those in memory."""
    key = mix(mix(np.uint64(seed), np.uint64(simd.fact(plan, PLAN.serial))), np.uint64(number))
    draw = mix(key, np.uint64(repeat))
    reach = min(simd.fact(plan, PLAN.memory), number) + 1
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
        if total != 0:
            healthy[k] = 0
            found += 1
    return found
