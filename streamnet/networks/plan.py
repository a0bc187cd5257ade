"""Codes and columns that the parts of the kernel read from a plan."""

from __future__ import annotations

from streamnet.jit import inlined
from streamnet.networks import simd
from streamnet.networks.topology import PLAN
from streamnet.networks.topology import PLAN_LAYER

__all__ = (
    "ABSOLUTE",
    "ADAGRAD",
    "ADAM",
    "CROSS_ENTROPY",
    "HUBER",
    "IDENTITY",
    "INVERSE",
    "LINEAR",
    "LOG",
    "LOGISTIC",
    "MOMENTUM",
    "RELU",
    "RMSPROP",
    "SGD",
    "SOFTMAX",
    "STEP",
    "TANH",
    "layer_of",
)

# The place of a name in ACTIVATIONS and OUTPUTS, LOSSES, OPTIMISERS, SCHEDULES and TRANSFORMS.
IDENTITY, LOGISTIC, TANH, RELU, SOFTMAX = range(5)
CROSS_ENTROPY, SQUARED, ABSOLUTE, HUBER = range(4)
SGD, MOMENTUM, RMSPROP, ADAGRAD, ADAM = range(5)
CONSTANT, STEP, INVERSE, LINEAR = range(4)
PLAIN, LOG = range(2)
COLUMNS = len(PLAN_LAYER)


@inlined
def layer_of(plan, layer, column):
    """A fact about a layer, see `topology.PLAN_LAYER`."""
    return simd.fact(plan, PLAN.layers + COLUMNS * layer + column)
