"""Kernels of a factorization machine, which learns after each prediction.

A category, word or missing value is a token, and so are the two of 15 bins between which a number
lies, with shares that add up to 1. The score of a label is linear in the tokens, plus the products
of the vectors of any two tokens (Rendle 2010, Factorization machines); labels share the vectors and
weigh their dimensions. So a pair that has never been seen still has a product. Each column has a
gate, a factor of its vectors that is learned by exponentiated gradients (Kivinen and Warmuth 1997):
columns that say nothing are soon closed. All else is learned by AdaGrad (Duchi, Hazan and Singer
2011), whose steps are large for rare tokens.
"""

from __future__ import annotations

import math
from threading import local
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamnet.jit import exact_inlined, exact_kernel
from streamnet.samples import Inputs

BINS = 15  # of a number, closer around its mean
GATES = 1024  # half of them for numbers, half for columns of rows; further ones share them
LABEL_RATES = 0.2, 0.05  # of weights and vectors
NUMBER_RATES = 0.1, 0.03
GATE_RATE = 0.2
LEAST_GATE, GREATEST_GATE = 1e-3, 3.0
MAX_ERROR = 0.3  # standard deviations of a number up to which its squared error counts (Huber)
MAX_NUMBER = 8.0  # standard deviations that are predicted at most
MAX_INPUT = 8.0
MAX_VECTOR = 8.0  # magnitude of an entry of a vector
MAX_STEP_WEIGHT = 16.0  # of a sample
_STEEPNESS = 2.0
_CENTER = BINS // 2
_SMALL, _LEAST_SQUARE = 1e-8, 1e-4  # added to sums of squares, of weights and vectors


class Tables(NamedTuple):
    """What is learned: of T tokens, first the bins of all numbers, then rows, for C labels."""

    weight: NDArray[np.float32]  # shape=(T, C); this and the others are followed by sums of squares
    weight_squares: NDArray[np.float32]
    vector: NDArray[np.float32]  # shape=(T, factors)
    vector_squares: NDArray[np.float32]
    output: NDArray[np.float32]  # shape=(C, factors), weights of the dimensions
    output_squares: NDArray[np.float32]
    bias: NDArray[np.float32]  # shape=(C,)
    bias_squares: NDArray[np.float32]
    gate: NDArray[np.float32]  # shape=(GATES,)
    gate_squares: NDArray[np.float32]


class Scratch(NamedTuple):
    """Working memory of a call."""

    token: NDArray[np.int64]  # shape=(tokens,); of each active token, its number in the tables,
    gate: NDArray[np.int64]  # that of its gate,
    share: NDArray[np.float32]  # and its value
    score: NDArray[np.float32]  # shape=(C,)
    slope: NDArray[np.float32]  # shape=(C,), of the loss
    total: NDArray[np.float32]  # shape=(factors,), sum of vectors
    square: NDArray[np.float32]  # shape=(factors,), sum of their squares; then sum of products
    pull: NDArray[np.float32]  # shape=(factors,), slope of the loss for the products
    opening: NDArray[np.float32]  # shape=(GATES,), slope of the loss for the gates; 0 in between


_KEPT = local()


def get_scratch(inputs: Inputs, tables: Tables) -> Scratch:
    """Working memory of this thread, for samples with these inputs."""
    tokens = 2 * inputs.dense.shape[1] + inputs.row.shape[1]
    labels, factors = tables.output.shape
    kept: Scratch | None = getattr(_KEPT, "scratch", None)
    fits = kept is not None and len(kept.token) >= tokens
    if fits and kept and (len(kept.score), len(kept.total)) == (labels, factors):
        return kept
    scratch = _KEPT.scratch = Scratch(
        np.empty(tokens, np.int64),
        np.empty(tokens, np.int64),
        np.empty(tokens, np.float32),
        np.empty(labels, np.float32),
        np.empty(labels, np.float32),
        np.empty(factors, np.float32),
        np.empty(factors, np.float32),
        np.empty(factors, np.float32),
        np.zeros(GATES, np.float32),
    )
    return scratch


@exact_inlined
def _clip(x: float, bound: float) -> float:
    """A value within bounds; 0 for NaN."""
    return min(max(x, -bound), bound) if x == x else 0.0


@exact_inlined
def _find_tokens(
    dense: NDArray[np.floating],
    row: NDArray[np.int32],
    value: NDArray[np.floating],
    count: int,
    i: int,
    fields: NDArray[np.int32],
    numbers: int,
    tokens: int,
    scratch: Scratch,
) -> int:
    """Write the active tokens of sample ``i``; return how many. Unknown ones are left out."""
    found = 0
    for e in range(count):
        at = numbers * BINS + row[i, e]
        share = np.float32(_clip(value[i, e], MAX_INPUT))
        if at < tokens and share != 0.0:
            field = fields[row[i, e]] if row[i, e] < fields.size else 0
            scratch.token[found], scratch.share[found] = at, share
            scratch.gate[found] = GATES // 2 + field % (GATES // 2)
            found += 1
    for j in range(min(dense.shape[1], numbers)):
        z = math.asinh(_STEEPNESS * _clip(dense[i, j], MAX_INPUT))
        place = _STEEPNESS * z + _CENTER
        lower = math.floor(place)
        for side in range(2):
            share = np.float32(place - lower if side else 1.0 - (place - lower))
            if share != 0.0:
                scratch.token[found] = j * BINS + lower + side
                scratch.share[found], scratch.gate[found] = share, j % (GATES // 2)
                found += 1
    return found


@exact_inlined
def _compute_scores(tables: Tables, scratch: Scratch, found: int, scale: Any) -> None:
    """Write the score of each label, and the products of vectors."""
    labels, factors = tables.output.shape
    score, total, square = scratch.score, scratch.total, scratch.square
    for c in range(labels):
        score[c] = tables.bias[c]
    for f in range(factors):
        total[f] = np.float32(0.0)
        square[f] = np.float32(0.0)
    for a in range(found):
        at, share = scratch.token[a], scratch.share[a]
        own, gated = share * scale, share * tables.gate[scratch.gate[a]]
        for c in range(labels):
            score[c] += tables.weight[at, c] * own
        for f in range(factors):
            z = tables.vector[at, f] * gated
            total[f] += z
            square[f] += z * z
    for f in range(factors):
        square[f] = np.float32(0.5) * (total[f] * total[f] - square[f])
    for c in range(labels):
        for f in range(factors):
            score[c] += tables.output[c, f] * square[f]


@exact_inlined
def _write_probabilities(score: NDArray[np.float32], known: int, found: NDArray[Any]) -> None:
    """Write the probabilities of the known labels, by their scores."""
    highest: Any = score[0]
    for c in range(known):
        highest = max(highest, score[c])
    total = np.float32(0.0)
    for c in range(known):
        found[c] = np.float32(math.exp(score[c] - highest))
        total += found[c]
    for c in range(known):
        found[c] /= total


@exact_inlined
def _learn(
    tables: Tables, scratch: Scratch, found: int, scale: Any, labels: int, rates: Any, first: int
) -> None:
    """A step of everything against the slope of the loss; outputs are learned from ``first`` on."""
    factors = tables.output.shape[1]
    rate, vector_rate = np.float32(rates[0]), np.float32(rates[1])
    slope, total, pull = scratch.slope, scratch.total, scratch.pull
    small, least = np.float32(_SMALL), np.float32(_LEAST_SQUARE)
    bound = np.float32(MAX_VECTOR)
    for f in range(factors):
        pull[f] = np.float32(0.0)
    for c in range(labels):
        g = slope[c]
        tables.bias_squares[c] += g * g
        tables.bias[c] -= rate * g / np.float32(math.sqrt(tables.bias_squares[c] + small))
        for f in range(factors):
            pull[f] += g * tables.output[c, f]
        for f in range(factors if first <= labels else 0):
            d = g * scratch.square[f]
            tables.output_squares[c, f] += d * d
            root = np.float32(math.sqrt(tables.output_squares[c, f] + least))
            w = tables.output[c, f] - vector_rate * d / root
            tables.output[c, f] = min(max(w, -bound), bound)
    for a in range(found):
        at, gate = scratch.token[a], scratch.gate[a]
        own, gated = scratch.share[a] * scale, scratch.share[a] * tables.gate[gate]
        for c in range(labels):
            d = slope[c] * own
            tables.weight_squares[at, c] += d * d
            root = np.float32(math.sqrt(tables.weight_squares[at, c] + small))
            tables.weight[at, c] -= rate * d / root
        opening = np.float32(0.0)
        for f in range(factors):
            v = tables.vector[at, f]
            d = pull[f] * gated * (total[f] - v * gated)
            opening += d * v
            tables.vector_squares[at, f] += d * d
            root = np.float32(math.sqrt(tables.vector_squares[at, f] + least))
            tables.vector[at, f] = min(max(v - vector_rate * d / root, -bound), bound)
        scratch.opening[gate] += opening
    for a in range(found):
        gate = scratch.gate[a]
        d = scratch.opening[gate]
        scratch.opening[gate] = np.float32(0.0)  # other tokens may have the same gate
        if d != 0.0:
            tables.gate_squares[gate] += d * d
            step = GATE_RATE * d / math.sqrt(tables.gate_squares[gate] + small)
            opened = tables.gate[gate] * math.exp(-step)
            tables.gate[gate] = np.float32(min(max(opened, LEAST_GATE), GREATEST_GATE))


@exact_inlined
def _weigh(importance: NDArray[np.float64], i: int) -> Any:
    """The weight of a sample in its step."""
    return np.float32(min(importance[i], MAX_STEP_WEIGHT) if importance.size > 0 else 1.0)


@exact_kernel
def predict_then_learn(
    dense: NDArray[np.floating],  # this and the next three as in Inputs
    row: NDArray[np.int32],
    value: NDArray[np.floating],
    count: NDArray[np.int32],
    lags: int,  # entries at a sample's end that are earlier targets
    fields: NDArray[np.int32],  # column of each row, as in Inputs
    numbers: int,  # numbers that have bins in the tables
    truth: NDArray[np.int32],  # class numbers, -1 for none; empty: nothing is learned
    goal: NDArray[np.float64],  # numbers in standard units, NaN for none; empty for labels
    known: NDArray[np.int32],  # empty for numbers
    importance: NDArray[np.float64],  # weight of each sample; empty: all are 1
    answers: NDArray[np.float32],  # shape=(n, C), written: probabilities, or numbers
    weight: NDArray[np.float32],  # this and the next nine are Tables
    weight_squares: NDArray[np.float32],
    vector: NDArray[np.float32],
    vector_squares: NDArray[np.float32],
    output: NDArray[np.float32],
    output_squares: NDArray[np.float32],
    bias: NDArray[np.float32],
    bias_squares: NDArray[np.float32],
    gate: NDArray[np.float32],
    gate_squares: NDArray[np.float32],
    token: NDArray[np.int64],  # this and the rest are a Scratch
    gate_number: NDArray[np.int64],
    share: NDArray[np.float32],
    score: NDArray[np.float32],
    slope: NDArray[np.float32],
    total: NDArray[np.float32],
    square: NDArray[np.float32],
    pull: NDArray[np.float32],
    opening: NDArray[np.float32],
) -> None:
    """Predict each sample, then learn it if its target is known."""
    # Passing named tuples from Python would be slow.
    learned = weight, weight_squares, vector, vector_squares, output, output_squares
    tables = Tables(*learned, bias, bias_squares, gate, gate_squares)
    scratch = Scratch(token, gate_number, share, score, slope, total, square, pull, opening)
    for i in range(count.size):
        entries = max(count[i] - lags, 0)
        inputs = dense, row, value, entries, i, fields, numbers, weight.shape[0]
        found = _find_tokens(*inputs, scratch)
        scale = np.float32(1.0 / math.sqrt(max(entries + dense.shape[1], 1)))
        _compute_scores(tables, scratch, found, scale)
        if known.size == 0:
            answers[i, 0] = np.float32(_clip(score[0], MAX_NUMBER))
            if i < goal.size and math.isfinite(goal[i]):
                error = _clip((answers[i, 0] - goal[i]) / MAX_ERROR, 1.0)
                slope[0] = np.float32(error) * _weigh(importance, i)
                _learn(tables, scratch, found, scale, 1, NUMBER_RATES, 2)
            continue
        names = min(known[i], score.size, answers.shape[1])
        for c in range(answers.shape[1]):
            answers[i, c] = np.float32(0.0)
        if names > 0:
            _write_probabilities(score, names, answers[i])
        if i < truth.size and truth[i] >= 0:
            names = max(names, truth[i] + 1)
            _write_probabilities(score, names, slope)
            slope[truth[i]] -= np.float32(1.0)
            for c in range(names):
                slope[c] *= _weigh(importance, i)
            _learn(tables, scratch, found, scale, names, LABEL_RATES, 3)
