"""Seats: a thread's working memory for the candidates that it has in work at once.

In a small network each part of a step waits for the one before. With several candidates seated, and
each part done for all of them in turn, the processor works for one while another waits.
"""

from __future__ import annotations

from threading import local
from typing import Any
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike
from numpy.typing import NDArray

from streamnet.jit import inlined
from streamnet.networks import simd
from streamnet.networks.aligned import aligned_zeros
from streamnet.networks.topology import PLAN
from streamnet.networks.touched import Touched
from streamnet.networks.turns import take_turn

__all__ = (
    "ASKED",
    "EMPTY",
    "LEARNS",
    "RESTS",
    "SEAT",
    "SEATS",
    "SeatArrays",
    "Seats",
    "new_seats",
    "seats_of",
    "take_seats",
)

SeatArrays = tuple[NDArray[np.int64], NDArray[Any], NDArray[np.int64], NDArray[Any]]
SEATS = 2
NEAR = 28 << 10  # bytes that surely stay in the nearest cache, which is at least 32 kB
EMPTY, RESTS, ASKED, LEARNS = range(4)  # phases of a seat


class _Seat(NamedTuple):
    """Columns of what a seat stands at."""

    phase: int = 0  # EMPTY, RESTS in this step, is ASKED, or LEARNS what it was asked
    candidate: int = 1
    sample: int = 2  # of the block
    repeat: int = 3  # 0 for the sample itself, then its rehearsals
    slot: int = 4  # of the sample to learn, in memory
    active: int = 5  # outputs in use
    touched: int = 6  # how many rows the sample touches
    ahead: int = 7  # slot of the next rehearsal, if there is one
    alone: int = 8  # 1 for a candidate that takes the nearest cache for itself


SEAT = _Seat()


class Seats(NamedTuple):
    """Working memory of one thread, a row for each seat."""

    now: NDArray[np.int64]  # shape=(SEATS, columns), see SEAT
    scratch: NDArray[np.floating]  # shape=(SEATS, size), see `forward`
    touched: Touched  # shape=(SEATS, most) each


def new_seats(size: int, touched: int, dtype: DTypeLike) -> Seats:
    """Empty seats.

    Args:
        size: Numbers of working memory that a candidate needs.
        touched: Rows that a sample can touch.
        dtype: float32 or float64.
    """
    line = np.dtype(dtype)
    scratch = aligned_zeros(SEATS * size, line).reshape(SEATS, size)
    place, share = np.zeros((SEATS, touched), np.int64), np.zeros((SEATS, touched), line)
    return Seats(np.zeros((SEATS, len(SEAT)), np.int64), scratch, Touched(place, share))


def seats_of(kept: local, size: int, touched: int, dtype: DTypeLike) -> SeatArrays:
    """The arrays of the seats that this thread keeps, large enough for these; see `new_seats`."""
    if getattr(kept, "most", -1) < touched:
        seats = new_seats(size, touched, dtype)
        kept.most, kept.arrays = touched, (seats.now, seats.scratch, *seats.touched)
    arrays: SeatArrays = kept.arrays
    return arrays


@inlined
def take_seats(plans, order, turns, seats, most, busy):
    """Let the next candidates sit down in free seats, unless one wants to be alone; how many sit.

    Two large ones would push each other's weights out of the nearest cache at every step, which
    takes twice as long as to do one after the other.
    """
    for s in range(most):
        if simd.pick(turns, 0) >= order.size or _one_is_alone(seats):
            break
        if simd.pick(seats.now[s], SEAT.phase) == EMPTY:
            busy += _take_seat(plans, order, turns, seats, s)
    return busy


@inlined
def _one_is_alone(seats):
    for s in range(SEATS):
        now = seats.now[s]
        if simd.pick(now, SEAT.phase) != EMPTY and simd.pick(now, SEAT.alone) == 1:
            return True
    return False


@inlined
def _take_seat(plans, order, turns, seats, s):
    """Let the next candidate sit down in seat ``s``; 1, or 0 if there is none."""
    turn = take_turn(turns)
    if turn >= order.size:
        return 0
    now, scratch = seats.now[s], seats.scratch[s]
    candidate = simd.pick(order, turn)
    # What lies beyond the outputs in use, and fills up vectors, must be zero.
    for j in range(scratch.size):
        simd.put(scratch, j, 0)
    moved = simd.fact(plans[np.uint64(candidate)], PLAN.moved)
    simd.put(now, SEAT.alone, SEATS * moved * scratch.itemsize > NEAR)
    simd.put(now, SEAT.phase, RESTS)
    simd.put(now, SEAT.candidate, candidate)
    simd.put(now, SEAT.sample, 0)
    simd.put(now, SEAT.repeat, 0)
    return 1
