"""Kernels of the memory: the nearest stored samples, their votes, the metric, and the lists.

Stored samples are in lists of similar ones, each around the mean of its own (an inverted file:
Sivic and Zisserman 2003, Video Google). A search compares a sample with the centers and with what
is in the nearest few lists. A full list is divided into two halves while there is room for another
list; after that, its oldest sample makes room for the next one.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamnet.jit import exact_inlined, exact_kernel
from streamnet.networks.simd import vectors as simd
from streamnet.networks.simd.vectors import LANES
from streamnet.randomness import mix_key
from streamnet.samples import Inputs

LIST_SIZE = 128  # samples of a list
PROBES = 8  # nearest lists that are searched
NEIGHBORS = 8  # nearest samples that vote
HASHED = LANES  # dimensions of active rows
MAX_DENSE = 48  # dimensions of dense inputs; more inputs share them
MAX_INPUT = 1e4  # magnitude to which inputs are clipped, so that no distance overflows
SHARPNESS = 4.0  # with which votes fall with the distance
DOUBT = 0.3  # votes that all known labels share
LEARNING_RATE = 0.4  # of the metric
LEAST_WEIGHT, GREATEST_WEIGHT = 1e-4, 1e4  # of a dimension in the metric
_SMALL = 1e-6  # added to squared distances
_SHARE = math.sqrt(0.5 / HASHED)  # two samples that differ in one active row have distance 1
_KEY = 0x4E4E  # keeps these random signs apart from other random numbers
_FAR = 1e30


class Store(NamedTuple):
    """What is stored.

    Lists and centers have one row for each dimension, so that a vector of lanes holds as many
    samples: a list of n samples is measured in the time of n / `LANES` ones.
    """

    vector: NDArray[np.float32]  # shape=(lists, width, LIST_SIZE)
    label: NDArray[np.int32]  # shape=(lists * LIST_SIZE,): class number, -1 for a retired class
    weight: NDArray[np.float32]  # shape=(lists * LIST_SIZE,)
    center: NDArray[np.float32]  # shape=(groups, width, LIST_SIZE): groups of LIST_SIZE lists
    size: NDArray[np.int64]  # shape=(lists,): samples of the list
    following: NDArray[np.int64]  # shape=(lists,): where its next sample goes
    metric: NDArray[np.float32]  # shape=(width,): weight of each dimension
    used: NDArray[np.int64]  # shape=(2,): lists in use; whether any sample has active rows


class Scratch(NamedTuple):
    """Working memory of a call."""

    query: NDArray[np.float32]  # shape=(width,)
    other: NDArray[np.float32]  # shape=(width,): a vector of a list that is divided
    list_distance: NDArray[np.float32]  # shape=(PROBES,), ascending; so are the samples'
    list_number: NDArray[np.int64]  # shape=(PROBES,), -1 for none
    distance: NDArray[np.float32]  # shape=(NEIGHBORS,)
    place: NDArray[np.int64]  # shape=(NEIGHBORS,), -1 for none
    away: NDArray[np.float32]  # shape=(LIST_SIZE,): distances of the vectors of a list
    rank: NDArray[np.float32]  # shape=(LIST_SIZE,)


def new_scratch(width: int) -> Scratch:
    """Working memory for vectors of a width."""
    return Scratch(
        np.empty(width, np.float32),
        np.empty(width, np.float32),
        np.empty(PROBES, np.float32),
        np.empty(PROBES, np.int64),
        np.empty(NEIGHBORS, np.float32),
        np.empty(NEIGHBORS, np.int64),
        np.empty(LIST_SIZE, np.float32),
        np.empty(LIST_SIZE, np.float32),
    )


def needed_width(inputs: Inputs) -> int:
    """Width of the vectors of samples with these inputs."""
    return HASHED + min(int(inputs.dense.shape[1]), MAX_DENSE)


@exact_inlined
def _clip(x: float) -> float:
    """An input within bounds; 0 for NaN, which has no distance from anything."""
    return min(max(x, -MAX_INPUT), MAX_INPUT) if x == x else 0.0


@exact_inlined
def _write_vector(
    dense: NDArray[np.floating],
    row: NDArray[np.int32],
    value: NDArray[np.floating],
    count: int,
    i: int,
    query: NDArray[np.float32],
) -> None:
    """Write the vector of sample ``i``: random projections of active rows, then dense inputs.

    A random projection keeps distances approximately (Achlioptas 2003, Database-friendly random
    projections). Dense inputs beyond `MAX_DENSE` are added to earlier ones, with random signs.
    """
    for j in range(query.size):
        query[j] = 0.0
    for e in range(count):
        signs = mix_key(np.uint64(_KEY), np.uint64(row[i, e]))
        share = np.float32(_clip(value[i, e]) * _SHARE)
        for j in range(HASHED):
            query[j] += share if (signs >> np.uint64(j)) & np.uint64(1) else -share
    for j in range(dense.shape[1]):
        x = np.float32(_clip(dense[i, j]))
        if j >= MAX_DENSE and mix_key(np.uint64(_KEY), np.uint64(j)) & np.uint64(1):
            x = -x
        query[HASHED + j % MAX_DENSE] += x


@exact_inlined
def _measure(
    metric: Any, vectors: Any, number: int, size: int, query: Any, start: int, away: Any
) -> None:
    """Write the squared distances of the first vectors of a list from the query.

    Dimensions below ``start`` are 0 in all of them.
    """
    first = number * metric.size * LIST_SIZE
    for s in range(0, size, 4 * LANES):
        a = b = c = d = simd.splat(np.float32(0.0))
        for j in range(start, metric.size):
            at, w, q = (
                first + j * LIST_SIZE + s,
                simd.broadcast(metric, j),
                simd.broadcast(query, j),
            )
            a = _add_square(w, simd.subtract(simd.load(vectors, at), q), a)
            b = _add_square(w, simd.subtract(simd.load(vectors, at + LANES), q), b)
            c = _add_square(w, simd.subtract(simd.load(vectors, at + 2 * LANES), q), c)
            d = _add_square(w, simd.subtract(simd.load(vectors, at + 3 * LANES), q), d)
        simd.store(away, s, a)
        simd.store(away, s + LANES, b)
        simd.store(away, s + 2 * LANES, c)
        simd.store(away, s + 3 * LANES, d)


@exact_inlined
def _add_square(w: Any, z: Any, total: Any) -> Any:
    return simd.multiply_add(simd.multiply(w, z), z, total)


@exact_inlined
def _insert(found: Any, places: Any, distance: Any, place: Any) -> None:
    """Insert into an ascending list if it is nearer than the last one, which is dropped."""
    k = found.size - 1
    if not distance < found[k]:
        return
    while k > 0 and found[k - 1] > distance:
        found[k], places[k] = found[k - 1], places[k - 1]
        k -= 1
    found[k], places[k] = distance, place


@exact_inlined
def _find_lists(store: Store, scratch: Scratch, start: int) -> None:
    """Find the nearest lists, the nearest one first."""
    for p in range(PROBES):
        scratch.list_distance[p], scratch.list_number[p] = _FAR, -1
    for first in range(0, store.used[0], LIST_SIZE):
        size, group = min(store.used[0] - first, LIST_SIZE), first // LIST_SIZE
        _measure(store.metric, store.center, group, size, scratch.query, start, scratch.away)
        for s in range(size):
            _insert(scratch.list_distance, scratch.list_number, scratch.away[s], first + s)


@exact_inlined
def _find_samples(store: Store, scratch: Scratch, start: int) -> None:
    """Find the nearest samples in the nearest lists."""
    for k in range(NEIGHBORS):
        scratch.distance[k], scratch.place[k] = _FAR, -1
    for p in range(PROBES):
        number = scratch.list_number[p]
        if number < 0:
            break
        size, first = store.size[number], number * LIST_SIZE
        _measure(store.metric, store.vector, number, size, scratch.query, start, scratch.away)
        for s in range(size):
            _insert(scratch.distance, scratch.place, scratch.away[s], first + s)


@exact_inlined
def _vote(store: Store, scratch: Scratch, known: int, answers: NDArray[np.float32], i: int) -> None:
    """Write the share of each known label in the votes of the nearest samples."""
    mean, found = 0.0, 0
    for k in range(NEIGHBORS):
        if scratch.place[k] >= 0:
            mean += scratch.distance[k]
            found += 1
    mean = mean / max(found, 1) + _SMALL
    total = DOUBT
    for c in range(known):
        answers[i, c] = DOUBT / known
    for k in range(found):
        label = store.label[scratch.place[k]]
        if 0 <= label < known:
            away = (scratch.distance[k] - scratch.distance[0]) / mean
            vote = store.weight[scratch.place[k]] * math.exp(-SHARPNESS * away)
            answers[i, label] += np.float32(vote)
            total += vote
    for c in range(known):
        answers[i, c] = np.float32(answers[i, c] / total)


@exact_inlined
def _learn_metric(store: Store, scratch: Scratch, start: int, truth: int) -> None:
    """Let the nearest sample of the label come closer, and the nearest one of another go away.

    Steps are those of exponentiated gradients (Kivinen and Warmuth 1997) on the logistic loss of
    the logarithm of the ratio of both squared distances, one of the objectives by which metrics of
    neighbors are learned (Goldberger et al. 2004, Neighbourhood components analysis; for weights of
    single dimensions: Kira and Rendell 1992, A practical approach to feature selection). The
    product of all weights stays the same.
    """
    hit, miss = -1, -1
    for k in range(NEIGHBORS):
        place = scratch.place[k]
        if place < 0 or store.label[place] < 0:
            continue
        if store.label[place] == truth:
            hit = k if hit < 0 else hit
        else:
            miss = k if miss < 0 else miss
    if hit < 0 or miss < 0:
        return
    near = scratch.distance[hit] + np.float32(_SMALL)
    far = scratch.distance[miss] + np.float32(_SMALL)
    rate = np.float32(LEARNING_RATE) * near / (near + far)
    closer, away = rate / near, rate / far
    half, one = np.float32(0.5), np.float32(1.0)
    hit, miss = scratch.place[hit], scratch.place[miss]
    for j in range(start, store.metric.size):
        to_hit = store.vector[hit // LIST_SIZE, j, hit % LIST_SIZE] - scratch.query[j]
        to_miss = store.vector[miss // LIST_SIZE, j, miss % LIST_SIZE] - scratch.query[j]
        w = store.metric[j]
        step = (away * to_miss * to_miss - closer * to_hit * to_hit) * w
        # Its exponential to the second order: no step is beyond the rate.
        w *= (half * step + one) * step + one
        w = max(w, np.float32(LEAST_WEIGHT))
        store.metric[j] = min(w, np.float32(GREATEST_WEIGHT))


@exact_inlined
def _store_sample(store: Store, scratch: Scratch, start: int, truth: int, weight: float) -> None:
    """Store the sample in the nearest list."""
    number = scratch.list_number[0]
    full = store.size[number] == LIST_SIZE
    # Samples in a list are in their order at this moment, and again after each LIST_SIZE of them.
    if full and store.following[number] == 0 and store.used[0] < store.size.size:
        number = _divide(store, scratch, start, number)
    s = store.following[number]
    store.label[number * LIST_SIZE + s] = truth
    store.weight[number * LIST_SIZE + s] = weight
    store.following[number] = (s + 1) % LIST_SIZE
    store.size[number] = min(store.size[number] + 1, LIST_SIZE)
    share = np.float32(1.0) / np.float32(store.size[number])
    group, own = number // LIST_SIZE, number % LIST_SIZE
    for j in range(start, store.metric.size):
        x, center = scratch.query[j], store.center[group, j, own]
        store.vector[number, j, s] = x
        store.center[group, j, own] = center + share * (x - center)


@exact_inlined
def _find_farthest(store: Store, scratch: Scratch, start: int, number: int) -> int:
    """The place in a full list that is farthest from the other vector; -1 if all are equal to it.

    All distances are left in ``away``.
    """
    _measure(store.metric, store.vector, number, LIST_SIZE, scratch.other, start, scratch.away)
    farthest, longest = -1, np.float32(0.0)
    for s in range(LIST_SIZE):
        if scratch.away[s] > longest:
            farthest, longest = s, scratch.away[s]
    return farthest


@exact_inlined
def _copy_vector(vectors: Any, number: int, s: int, target: Any) -> None:
    for j in range(target.size):
        target[j] = vectors[number, j, s]


@exact_inlined
def _divide(store: Store, scratch: Scratch, start: int, number: int) -> int:
    """Divide a full list into two halves, between two samples far apart; return the nearer one.

    Halves, and not what is nearer to either sample: a few far ones would fill all lists with one
    sample each, and leave the others no room.
    """
    first, rank = number * LIST_SIZE, scratch.rank
    _copy_vector(store.center, number // LIST_SIZE, number % LIST_SIZE, scratch.other)
    one = _find_farthest(store, scratch, start, number)
    if one < 0:
        return number
    _copy_vector(store.vector, number, one, scratch.other)
    two = _find_farthest(store, scratch, start, number)
    if two < 0:
        return number
    for s in range(LIST_SIZE):
        rank[s] = scratch.away[s]
    _copy_vector(store.vector, number, two, scratch.other)
    _measure(store.metric, store.vector, number, LIST_SIZE, scratch.other, start, scratch.away)
    for s in range(LIST_SIZE):
        rank[s] -= scratch.away[s]
    new = store.used[0]
    store.used[0] = new + 1
    kept, moved = 0, 0
    for s in range(LIST_SIZE):
        before = 0
        for other in range(LIST_SIZE):
            before += rank[other] < rank[s] or (rank[other] == rank[s] and other < s)
        goal, target = number, kept
        if before >= LIST_SIZE // 2:
            goal, target = new, moved
            moved += 1
        else:
            kept += 1
        store.label[goal * LIST_SIZE + target] = store.label[first + s]
        store.weight[goal * LIST_SIZE + target] = store.weight[first + s]
        for j in range(start, store.metric.size):
            store.vector[goal, j, target] = store.vector[number, j, s]
    _count_half(store, start, number, kept)
    _count_half(store, start, new, moved)
    near = _measure_center(store, scratch, start, number)
    return new if _measure_center(store, scratch, start, new) < near else number


@exact_inlined
def _measure_center(store: Store, scratch: Scratch, start: int, number: int) -> float:
    """Squared distance of a center from the query."""
    total = 0.0
    for j in range(start, store.metric.size):
        z = store.center[number // LIST_SIZE, j, number % LIST_SIZE] - scratch.query[j]
        total += store.metric[j] * z * z
    return total


@exact_inlined
def _count_half(store: Store, start: int, number: int, size: int) -> None:
    """Set size and center of a list of which the first samples remain."""
    store.size[number], store.following[number] = size, size
    for j in range(start, store.metric.size):
        total = 0.0
        for s in range(size):
            total += store.vector[number, j, s]
        store.center[number // LIST_SIZE, j, number % LIST_SIZE] = np.float32(total / size)


@exact_kernel
def predict_then_learn(
    dense: NDArray[np.floating],  # this and the next three as in Inputs
    row: NDArray[np.int32],
    value: NDArray[np.floating],
    count: NDArray[np.int32],
    lags: int,  # entries at a sample's end that are earlier targets
    truth: NDArray[np.int32],  # class numbers, -1 for none; empty: nothing is learned
    known: NDArray[np.int32],
    importance: NDArray[np.float64],  # weight of each sample; empty: all are 1
    answers: NDArray[np.float32],  # shape=(n, C), written: probabilities of known labels, and 0
    vector: NDArray[np.float32],  # this and the next seven are a Store
    label: NDArray[np.int32],
    weight: NDArray[np.float32],
    center: NDArray[np.float32],
    size: NDArray[np.int64],
    following: NDArray[np.int64],
    metric: NDArray[np.float32],
    used: NDArray[np.int64],
    query: NDArray[np.float32],  # this and the rest are a Scratch
    other: NDArray[np.float32],
    list_distance: NDArray[np.float32],
    list_number: NDArray[np.int64],
    distance: NDArray[np.float32],
    place: NDArray[np.int64],
    away: NDArray[np.float32],
    rank: NDArray[np.float32],
) -> None:
    """Predict each sample by the nearest stored ones, then store it if its label is known."""
    # Passing named tuples from Python would be slow.
    store = Store(vector, label, weight, center, size, following, metric, used)
    scratch = Scratch(query, other, list_distance, list_number, distance, place, away, rank)
    for i in range(count.size):
        active = max(count[i] - lags, 0)
        start = 0 if active > 0 or used[1] > 0 else HASHED
        _write_vector(dense, row, value, active, i, query)
        _find_lists(store, scratch, start)
        _find_samples(store, scratch, start)
        names = min(known[i], answers.shape[1])
        for c in range(names, answers.shape[1]):
            answers[i, c] = 0.0
        if names > 0:
            _vote(store, scratch, names, answers, i)
        if i < truth.size and truth[i] >= 0:
            used[1] |= active > 0
            _learn_metric(store, scratch, start, truth[i])
            own = importance[i] if importance.size > 0 else 1.0
            _store_sample(store, scratch, start, truth[i], own)
