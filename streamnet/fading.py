"""What fades comes to zero in the end."""

from __future__ import annotations

import numpy as np

from streamnet.jit import exact_inlined

__all__ = ("faded",)

LEAST = float(np.finfo(np.float64).tiny)  # a smaller one is subnormal


@exact_inlined
def faded(x: float) -> float:
    """``x``, or 0 in place of a subnormal number; NaN stays NaN.

    Rounding keeps one that is multiplied by 0.999 for ever, and most processors work on it ten
    times slower: after 700,000 samples for good. In a kernel of `networks.subnormals` subnormal
    inputs are zero as well; this is for what must tell them from zero, such as a spread.
    """
    return 0.0 if abs(x) < LEAST else x
