"""Initial weights, as a pure function of seed, candidate, section, row and unit.

A row added later, for a new class or category, starts the same whenever its memory is allocated.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamnet.networks.activations import ACTIVATIONS
from streamnet.networks.topology import Section
from streamnet.randomness import derive_key, fill_rows
from streamnet.settings.candidate import CandidateSettings

# Parts of the random numbers' keys; upper layers come after these.
_SECTION_NUMBERS = {"first": 0, "sparse": 1, "output": 2}


def _fan_in_limit(settings: CandidateSettings, section: str, fan_in: int) -> float:
    """He's (2015) variance of 2 / fan in for ReLU, else LeCun's (1998) of 1 / fan in.

    Output layers start four times smaller, so that first predictions are nearly even.
    """
    if not settings.hidden:
        return 0.0
    if section == "output":
        return sqrt(3.0 / fan_in) / 4.0
    layer = 0 if section in ("first", "sparse") else int(section.removeprefix("upper"))
    return sqrt(3.0 * ACTIVATIONS[settings.activations[layer]].gain / fan_in)


def _uniform_limit(settings: CandidateSettings, section: str, fan_in: int) -> float:
    """Uniform in [-1, 1), whatever the number of inputs."""
    return 1.0


INITIALIZATIONS = {"fan_in": _fan_in_limit, "uniform": _uniform_limit}
"""Functions that bound the initial weights of a section; to add one, add its name in
`settings.candidate` as well."""


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
    """Write initial weights into ``matrix``, shape=(rows, width), from row ``first`` on."""
    name = section.name
    matrix[first:] = 0
    if name in ("output_bias", "splines"):
        return
    if name.startswith("upper"):
        number = 3 + int(name.removeprefix("upper"))
        fan_in = section.rows - 1
    else:
        number = _SECTION_NUMBERS[name]
    if name == "output":
        fan_in = section.units
    limit = INITIALIZATIONS[settings.initialization](settings, name, fan_in)
    if limit == 0.0:
        return
    key = np.uint64(derive_key(seed, serial, number))
    fill_rows(matrix[first:, : section.units], key, first, limit)
    if name == "first" or name.startswith("upper"):
        matrix[0] = 0  # biases
