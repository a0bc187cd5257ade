"""What a population is made of, and what it says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from typing import NamedTuple
from typing import final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from streamnet.networks.candidate import CandidateSettings

__all__ = ("Answers", "Member", "Weights", "first_members")

NOBODY = np.zeros(0, np.bool_)
Weights = dict[str, NDArray[Any]]
"""A network's weights: a matrix for each section, with nothing that only fills up memory."""


@final
class Answers(Struct, frozen=True, eq=False, gc=False):
    """What each candidate said about each sample of a block before learning it."""

    outputs: NDArray[np.floating]  # shape=(candidates, n, outputs): shares, or a standard number
    alive: NDArray[np.uint8]  # shape=(candidates, n): 0 where a candidate had no finite answer
    logarithmic: NDArray[np.bool_] = NOBODY  # shape=(candidates,): whose numbers are logarithms


class Member(NamedTuple):
    """A candidate's place in the population."""

    settings: CandidateSettings
    serial: int  # keys the candidate's random numbers; unique unless it was given
    born: int  # number of the first sample it answers


def first_members(
    settings: Sequence[CandidateSettings], serials: Sequence[int] | None = None
) -> list[Member]:
    """The candidates at a population's start, numbered unless ``serials`` are given."""
    keys = range(len(settings)) if serials is None else serials
    return [Member(given, serial, 0) for given, serial in zip(settings, keys, strict=True)]
