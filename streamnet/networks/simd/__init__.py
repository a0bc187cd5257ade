"""Sixteen numbers in one register, or fewer: a small numba extension for explicit SIMD.

Plain loops over a network's units load and store the units for every input. A vector keeps them
in registers: LLVM maps its sixteen lanes to one 512-bit register, or splits it where the
processor has narrower ones. Functions such as the exponential are in `simd.functions`.
"""

from streamnet.networks.simd.arithmetic import add
from streamnet.networks.simd.arithmetic import divide
from streamnet.networks.simd.arithmetic import gate
from streamnet.networks.simd.arithmetic import keep
from streamnet.networks.simd.arithmetic import lane
from streamnet.networks.simd.arithmetic import larger
from streamnet.networks.simd.arithmetic import multiply
from streamnet.networks.simd.arithmetic import multiply_add
from streamnet.networks.simd.arithmetic import multiply_first
from streamnet.networks.simd.arithmetic import positive_part
from streamnet.networks.simd.arithmetic import reciprocal_root
from streamnet.networks.simd.arithmetic import smaller
from streamnet.networks.simd.arithmetic import splat
from streamnet.networks.simd.arithmetic import splat_eight
from streamnet.networks.simd.arithmetic import splat_four_wide
from streamnet.networks.simd.arithmetic import splat_two_wide
from streamnet.networks.simd.arithmetic import square_root
from streamnet.networks.simd.arithmetic import subtract
from streamnet.networks.simd.arithmetic import total
from streamnet.networks.simd.arithmetic import total_of_fours
from streamnet.networks.simd.arithmetic import truncated
from streamnet.networks.simd.memory import broadcast
from streamnet.networks.simd.memory import broadcast_like
from streamnet.networks.simd.memory import fact
from streamnet.networks.simd.memory import load
from streamnet.networks.simd.memory import load_eight
from streamnet.networks.simd.memory import load_four
from streamnet.networks.simd.memory import load_like
from streamnet.networks.simd.memory import pick
from streamnet.networks.simd.memory import prefetch
from streamnet.networks.simd.memory import put
from streamnet.networks.simd.memory import store
from streamnet.networks.simd.memory import store_in_parts
from streamnet.networks.simd.vector import EIGHT
from streamnet.networks.simd.vector import FOUR
from streamnet.networks.simd.vector import LANES

__all__ = (
    "EIGHT",
    "FOUR",
    "LANES",
    "add",
    "broadcast",
    "broadcast_like",
    "divide",
    "fact",
    "gate",
    "keep",
    "lane",
    "larger",
    "load",
    "load_eight",
    "load_four",
    "load_like",
    "multiply",
    "multiply_add",
    "multiply_first",
    "pick",
    "positive_part",
    "prefetch",
    "put",
    "reciprocal_root",
    "smaller",
    "splat",
    "splat_eight",
    "splat_four_wide",
    "splat_two_wide",
    "square_root",
    "store",
    "store_in_parts",
    "subtract",
    "total",
    "total_of_fours",
    "truncated",
)
