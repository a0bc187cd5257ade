"""The kernel that lets each candidate predict, be checked, and learn a block of samples.

A candidate goes through the whole block before another one takes its seat, so its weights stay in
the nearest caches; within a candidate, samples go strictly one after the other. Activation, loss
and optimiser are chosen by number once a layer or section, never per weight. Its parts are in
`seats`, `touched`, `forward`, `backward`, `update` and `batch`, inlined.
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
from streamnet.networks.forward import prepare
from streamnet.networks.seats import ASKED
from streamnet.networks.seats import EMPTY
from streamnet.networks.seats import LEARNS
from streamnet.networks.seats import RESTS
from streamnet.networks.seats import SEAT
from streamnet.networks.seats import SEATS
from streamnet.networks.seats import Seats
from streamnet.networks.seats import take_seats
from streamnet.networks.subnormals import flush_subnormals
from streamnet.networks.subnormals import restore_subnormals
from streamnet.networks.topology import FACTORS
from streamnet.networks.topology import PLAN
from streamnet.networks.touched import Touched
from streamnet.networks.touched import touch
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
    order: NDArray[np.int64],  # candidates to run
    turns: NDArray[np.int64],  # shape=(2,): how many some thread has taken up, and of threads
    plans: NDArray[np.int64],  # shape=(candidates, columns), see topology.PLAN
    factors: NDArray[np.float64],  # shape=(candidates, columns), see topology.FACTORS
    taken: NDArray[np.int64],  # shape=(candidates,): samples learned, rehearsed ones included
    healthy: NDArray[np.uint8],  # shape=(candidates,)
    weights: NDArray[np.floating],
    state: NDArray[np.floating],
    known: NDArray[np.int32],  # shape=(n,): outputs that may be named before sample i
    first: int,  # number of the block's first sample
    checks: bool,  # whether weights are looked at once the block is learned
    inputs: int,  # dense inputs in use
    seed: int,
    answers: NDArray[np.floating],  # shape=(candidates, n, outputs), written
    alive: NDArray[np.uint8],  # shape=(candidates, n), written
    now: NDArray[np.int64],  # this and the next three are working memory, see Seats
    scratch: NDArray[np.floating],
    place: NDArray[np.int64],
    share: NDArray[np.floating],
    *samples: NDArray[Any],  # those of a Memory
) -> None:
    """Test-then-train: answer each sample, then learn it and rehearse earlier ones.

    A sample without a target is answered and not learned. A candidate whose scores are not finite
    or exceed its limit is marked unhealthy at that sample and does nothing from there on; with
    ``checks`` one with a weight that is not finite is marked at the end.

    Threads that share ``turns`` share the candidates out among them, each as a seat gets free.
    """
    if known.size == 0:
        return
    # Named tuples take a microsecond or two to come in.
    seats = Seats(now, scratch, Touched(place, share))
    memory = Memory(*samples)
    control = flush_subnormals()
    # Who seats several must not leave other threads without any.
    most = SEATS if order.size >= SEATS * turns[1] else 1
    for s in range(SEATS):
        simd.put(seats.now[s], SEAT.phase, EMPTY)
    busy = take_seats(plans, order, turns, seats, most, 0)
    while busy > 0:
        for s in range(SEATS):
            _ask(plans, weights, seats, s, memory, known, first, inputs, seed, healthy, alive)
        for s in range(SEATS):
            _answer(plans, factors, seats, s, memory, known, healthy, answers, alive)
        for s in range(SEATS):
            _differentiate(plans, factors, weights, seats, s, memory)
        for s in range(SEATS):
            _move(plans, factors, taken, weights, state, seats, s, inputs)
        left = busy
        for s in range(SEATS):
            if _goes_on(plans, seats, s, memory, first) == known.size:
                simd.put(seats.now[s], SEAT.phase, EMPTY)
                left -= 1
                if checks:
                    _check(plans, weights, healthy, simd.pick(seats.now[s], SEAT.candidate))
        if left < busy:
            busy = take_seats(plans, order, turns, seats, most, left)
    restore_subnormals(control)


@inlined
def _ask(plans, weights, seats, s, memory, known, first, inputs, seed, healthy, alive):
    """The first part of a step: the next sample through the network, to its scores."""
    now = seats.now[s]
    if simd.pick(now, SEAT.phase) == EMPTY:
        return
    k = np.uint64(simd.pick(now, SEAT.candidate))
    _choose(plans[k], now, memory, known, first, inputs, seed, healthy[k], alive[k])
    if simd.pick(now, SEAT.phase) != ASKED:
        return
    scratch, slot = seats.scratch[s], simd.pick(now, SEAT.slot)
    touched = Touched(seats.touched.place[s], seats.touched.share[s])
    fetch(memory, slot, inputs, scratch)
    count = touch(plans[k], memory, slot, inputs, touched)
    simd.put(now, SEAT.touched, count)
    forward(plans[k], weights, scratch, touched, count, simd.pick(now, SEAT.active))


@inlined
def _answer(plans, factors, seats, s, memory, known, healthy, answers, alive):
    """The second: scores to an answer, written unless it was asked to rehearse."""
    now = seats.now[s]
    if simd.pick(now, SEAT.phase) != ASKED:
        return
    k = np.uint64(simd.pick(now, SEAT.candidate))
    scratch, active = seats.scratch[s], simd.pick(now, SEAT.active)
    sound = finish(plans[k], scratch, active, simd.fact(factors[k], FACTORS.score_limit))
    truth = simd.fact(memory.label, simd.pick(now, SEAT.slot))
    simd.put(now, SEAT.phase, LEARNS if sound and truth >= 0 else RESTS)
    if not sound:
        healthy[k] = 0
    if simd.pick(now, SEAT.repeat) == 0:
        i = simd.pick(now, SEAT.sample)
        simd.put(alive[k], i, sound)
        answer(plans[k], scratch, simd.fact(known, i), memory.goal.shape[1], answers, k, i)


@inlined
def _differentiate(plans, factors, weights, seats, s, memory):
    """The third: deltas of all layers, unless an earlier sample is known well enough."""
    now = seats.now[s]
    if simd.pick(now, SEAT.phase) == LEARNS:
        k = np.uint64(simd.pick(now, SEAT.candidate))
        scratch, active = seats.scratch[s], simd.pick(now, SEAT.active)
        slot = simd.pick(now, SEAT.slot)
        error = gradient(plans[k], factors[k], scratch, memory, slot, active)
        tolerance = simd.fact(factors[k], FACTORS.rehearsal_tolerance)
        if simd.pick(now, SEAT.repeat) > 0 and error < tolerance:
            simd.put(now, SEAT.phase, RESTS)
            return
        if simd.fact(factors[k], FACTORS.class_weight) > 0.0:
            weigh(plans[k], factors[k], scratch, memory, slot, active)
        backward(plans[k], weights, scratch, active)


@inlined
def _move(plans, factors, taken, weights, state, seats, s, inputs):
    """The last: every weight moved."""
    now = seats.now[s]
    if simd.pick(now, SEAT.phase) != LEARNS:
        return
    k = np.uint64(simd.pick(now, SEAT.candidate))
    plan, factor, scratch = plans[k], factors[k], seats.scratch[s]
    count, active = simd.pick(now, SEAT.touched), simd.pick(now, SEAT.active)
    touched = Touched(seats.touched.place[s], seats.touched.share[s])
    if simd.fact(factor, FACTORS.clip) > 0.0:
        clip(plan, factor, scratch, touched, count, inputs, active)
    move(plan, factor, weights, state, scratch, touched, count, active, taken[k])
    taken[k] += 1


@inlined
def _choose(plan, now, memory, known, first, inputs, seed, healthy, alive):
    """Find what a seat is to be asked in this step, if anything."""
    mask = memory.count.size - 1
    i, repeat = simd.pick(now, SEAT.sample), simd.pick(now, SEAT.repeat)
    slot = (first + i) & mask
    label = simd.fact(memory.label, slot)
    simd.put(now, SEAT.active, max(simd.fact(known, i), label + 1))
    if repeat > 0:
        slot = simd.pick(now, SEAT.ahead)
    else:
        simd.put(alive, i, healthy)
    if repeat < _repeats(plan, first + i):
        # Samples drawn from all over memory are far away: asked for now, they are there in time.
        ahead = _draw(plan, seed, first + i, repeat + 1) & mask
        simd.put(now, SEAT.ahead, ahead)
        prepare(memory, ahead, inputs)
    simd.put(now, SEAT.slot, slot)
    asked = healthy == 1 and (repeat == 0 or simd.fact(memory.label, slot) >= 0)
    simd.put(now, SEAT.phase, ASKED if asked else RESTS)


@inlined
def _goes_on(plans, seats, s, memory, first):
    """Step on to the next rehearsal or sample; the sample in turn, -1 in an empty seat."""
    now = seats.now[s]
    if simd.pick(now, SEAT.phase) == EMPTY:
        return -1
    plan = plans[np.uint64(simd.pick(now, SEAT.candidate))]
    i, repeat = simd.pick(now, SEAT.sample), simd.pick(now, SEAT.repeat) + 1
    label = simd.fact(memory.label, (first + i) & (memory.count.size - 1))
    if repeat > _repeats(plan, first + i) or label < 0:
        repeat = 0
        i += 1
    simd.put(now, SEAT.sample, i)
    simd.put(now, SEAT.repeat, repeat)
    return i


@inlined
def _repeats(plan: Any, number: int) -> Any:
    """How many earlier samples are learned after sample ``number``."""
    rehearsal, early = simd.fact(plan, PLAN.rehearsal), simd.fact(plan, PLAN.early_rehearsal)
    if number >= EARLY * early:  # it is over; a division takes as long as a small layer
        return rehearsal
    return max(rehearsal, min(early, EARLY * early // (number + 1)))


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
        if healthy[k] == 1:
            _check(plans, weights, healthy, k)
            found += healthy[k] == 0
    return found


@inlined
def _check(plans, weights, healthy, k):
    """Mark a candidate with a weight that is not finite as unhealthy."""
    start = plans[k, PLAN.start]
    total = weights[start] * 0
    for w in range(start, start + plans[k, PLAN.size]):
        total += weights[w] * 0
    if total != 0:
        healthy[k] = 0
