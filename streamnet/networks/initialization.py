"""Initial weights, as a pure function of seed, candidate, section, row and unit.

A row added later, for a new class or category, starts the same whenever its memory is allocated.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamnet.networks.topology import Section
from streamnet.randomness import derive_key, fill_rows
from streamnet.settings.candidate import CandidateSettings

__all__ = ("fill_section", "initial_limit")

_SECTION_NUMBERS = {"first": 0, "sparse": 1, "output": 2, "output_bias": 3}


def initial_limit(settings: CandidateSettings, section: str, fan_in: int) -> float:
    """Largest start weight of a section: weights are uniform in +- this, or all zero.

    ReLU layers take He's variance 2 / fan in (He et al. 2015), others LeCun's 1 / fan in (LeCun et
    al. 1998); output layers start four times smaller, so that first answers are near to even.
    """
    if section in ("output_bias", "splines"):
        return 0.0
    if settings.initialization == "uniform":
        return 1.0
    if section == "output" or not settings.hidden:
        return sqrt(3.0 / fan_in) / 4.0 if settings.hidden else 0.0
    layer = 0 if section in ("first", "sparse") else int(section.removeprefix("upper"))
    gain = 2.0 if settings.activations[layer] == "relu" else 1.0
    return sqrt(3.0 * gain / fan_in)


def fill_section(
    matrix: NDArray[Any],
    section: Section,
    settings: CandidateSettings,
    *,
    seed: int,
    serial: int,
    fan_in: int,
    first: int = 0,
) -> None:
    """Write start weights into rows ``first`` and up of ``matrix``, shape=(rows, width)."""
    name = section.name
    number = _SECTION_NUMBERS.get(
        name, 3 + int(name.removeprefix("upper")) if "upper" in name else 0
    )
    if name.startswith("upper"):
        fan_in = section.rows - 1
    elif name == "output":
        fan_in = section.units
    limit = initial_limit(settings, name, fan_in)
    matrix[first:] = 0
    if limit == 0.0:
        return
    key = np.uint64(derive_key(seed, serial, number))
    fill_rows(matrix[first:, : section.units], key, first, limit)
    if name == "first" or name.startswith("upper"):
        matrix[0] = 0  # biases
