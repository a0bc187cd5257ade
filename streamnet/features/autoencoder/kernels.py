"""The kernel that codes each sample of a block, tells how far off its reconstruction is, learns it.

Samples go strictly one after the other. A sample's code and error come first, from all of its
inputs. Then some inputs are hidden, and the network learns to restore them (Vincent et al.,
"Stacked denoising autoencoders", JMLR 2010). Of the rows that are not active it learns from a few
drawn ones alone, so that the cost of a sample does not depend on how many rows there are (Dauphin,
Glorot and Bengio, "Large-scale learning of embeddings with reconstruction sampling", ICML 2011;
here without their weights, as in Mikolov et al., "Distributed representations of words and phrases
and their compositionality", NIPS 2013).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamnet.features.autoencoder.backward import backward
from streamnet.features.autoencoder.backward import restore
from streamnet.features.autoencoder.forward import forward
from streamnet.features.autoencoder.forward import loss_of
from streamnet.features.autoencoder.forward import see
from streamnet.features.autoencoder.plan import ENTRIES
from streamnet.features.autoencoder.plan import KNOWN
from streamnet.features.autoencoder.plan import VALUES
from streamnet.features.autoencoder.plan import WIDTH
from streamnet.features.autoencoder.plan import Plan
from streamnet.features.autoencoder.plan import Weights
from streamnet.jit import inlined
from streamnet.jit import kernel
from streamnet.networks.subnormals import flush_subnormals
from streamnet.networks.subnormals import restore_subnormals
from streamnet.randomness import mix

__all__ = ("run",)

LEAST = 1e-6  # a smaller error counts as this large: float32 can't tell it from none


@kernel
def run(
    plan: Plan,
    weights: Weights,
    squares: Weights,
    counters: NDArray[np.int64],
    moments: NDArray[np.float64],  # of the logarithms of errors: total weight, mean, variance
    dense: NDArray[np.float32],
    row: NDArray[np.int32],
    value: NDArray[np.float32],
    count: NDArray[np.int32],
    start: int,  # first sample of the block to run
    lags: int,  # last entries of a sample, which are left out
    first: int,  # number of the block's first sample
    learn: bool,
    scratch: NDArray[np.floating],
    code: NDArray[np.floating],  # shape=(n, units), written
    error: NDArray[np.float64],  # shape=(n,), written
    score: NDArray[np.float64],  # shape=(n,), written
) -> int:
    """Code samples and, with ``learn``, learn each of them afterwards.

    Returns the number of the first sample with an error that is not finite, or n. Nothing was
    learned from that sample.
    """
    depth = plan.layers.shape[0]
    inputs = dense.shape[1]
    seen = 2 * (plan.layers[depth - 1, VALUES] + plan.layers[depth - 1, WIDTH])
    middle = plan.layers[plan.middle, VALUES]
    control = flush_subnormals()  # what RMSprop averages fades where no gradient comes any more
    for i in range(start, count.size):
        key = mix(np.uint64(plan.key), np.uint64(first + i))
        entries = count[i] - lags
        turns = 2 if learn and plan.noise > 0.0 else 1
        for turn in range(turns):
            noise = plan.noise if turn == 1 else 0.0
            see(scratch, seen, dense, i, inputs, key, 0, noise)
            see(scratch, seen + inputs, value, i, entries, key, ENTRIES, noise)
            forward(plan, weights, scratch, seen, inputs, row, i, entries)
            if turn == 0:
                loss = loss_of(plan, weights, scratch, seen, inputs, row, i, entries)
                if not loss < np.inf:
                    restore_subnormals(control)
                    return i
                for j in range(code.shape[1]):
                    code[i, j] = scratch[middle + j]
                error[i] = loss
                score[i] = _standing(moments, loss, plan.fading, learn)
        if learn:
            for q in range(entries):
                counters[KNOWN] = max(counters[KNOWN], row[i, q] + 1)
            restore(plan, weights, squares, scratch, dense, row, i, entries, key, counters[KNOWN])
            backward(plan, weights, squares, scratch, seen, inputs, row, i, entries)
    restore_subnormals(control)
    return count.size


@inlined
def _standing(moments: Any, loss: float, fading: float, learn: bool) -> float:
    """How many standard deviations the logarithm of an error lies above the faded mean before it.

    The moments are West's (1979) with weights that fade.
    """
    x = math.log(max(loss, LEAST))
    deviation = math.sqrt(moments[2])
    away = x - moments[1]
    standing = 0.0
    if moments[0] >= 1.0 and deviation > 1e-9:
        standing = away / deviation
    if learn:
        moments[0] = fading * moments[0] + 1.0
        moments[1] += away / moments[0]
        moments[2] = (1.0 - 1.0 / moments[0]) * (moments[2] + away * away / moments[0])
    return standing
