"""The detectors in plain Python from the papers' formulas: values are kept, nothing is running.

``river`` makes a reference do what River does where it differs from the paper.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ("NaiveADWIN", "NaiveDDM", "NaiveHDDMA", "NaiveHDDMW", "NaivePageHinkley", "positions")


class Buckets:
    """Buckets of 1, 2, 4 ... values, the oldest first, that hold the values themselves."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.all: list[list[float]] = []

    @property
    def values(self) -> list[float]:
        return [x for bucket in self.all for x in bucket]

    def add(self, x: float) -> None:
        self.all.append([x])
        size = 1
        while len(same := [i for i, b in enumerate(self.all) if len(b) == size]) > self.most:
            first = same[0]
            self.all[first : first + 2] = [self.all[first] + self.all[first + 1]]
            size *= 2

    def change(self, *, up: bool) -> list[float]:
        """Age, mean before and mean after where two means leave the least squares."""
        x = np.array(self.values)
        cuts = np.cumsum([len(bucket) for bucket in self.all])[:-1]
        sides = [(x[:cut], x[cut:]) for cut in cuts]

        def gain(side: tuple[NDArray, NDArray]) -> float:
            """Squares that two means save, negative if the mean goes the other way."""
            old, new = side
            saved = float(x.var() * x.size - old.var() * old.size - new.var() * new.size)
            return saved if (new.mean() > old.mean()) == up else -saved

        old, new = max(sides, key=gain)
        return [float(new.size), float(old.mean()), float(new.mean())]


class Detector(Protocol):
    def update(self, x: float) -> list[float]: ...


def positions(detector: Detector, values: Iterable[float]) -> tuple[list[int], list[list[float]]]:
    """Where changes are noticed; and of each its age and the means before and after."""
    found, changes = [], []
    for i, x in enumerate(values):
        if change := detector.update(float(x)):
            found.append(i)
            changes.append(change)
    return found, changes


class Naive:
    """Starts anew after each change."""

    def __init__(self, *, up: bool = True) -> None:
        self.up = up
        self.values: list[float] = []
        self.buckets = Buckets(5)

    def update(self, x: float) -> list[float]:
        """Age, mean before and mean after a change that shows; empty if none does."""
        self.values.append(x)
        self.buckets.add(x)
        if not self.changed():
            return []
        change = self.buckets.change(up=self.up)
        self.values, self.buckets = [], Buckets(5)
        return change

    def changed(self) -> bool:
        raise NotImplementedError


class NaivePageHinkley(Naive):
    """m_t is a sum over all values, each less the mean of those up to it."""

    def __init__(
        self, delta: float, threshold: float, alpha: float, grace_period: int, *, up: bool
    ) -> None:
        super().__init__(up=up)
        self.delta, self.threshold = delta, threshold
        self.alpha, self.grace_period = alpha, grace_period

    def changed(self) -> bool:
        x = np.array(self.values) if self.up else -np.array(self.values)
        n = np.arange(1, x.size + 1)
        deviations = x - np.cumsum(x) / n - self.delta
        powers = self.alpha ** np.arange(x.size)[::-1]
        sums = np.cumsum(deviations * powers) / powers
        return x.size > self.grace_period and sums[-1] - sums.min() > self.threshold


class NaiveDDM(Naive):
    """Error rates and their deviations after every value; lowest where p + s is."""

    def __init__(self, *, river: bool = False) -> None:
        super().__init__()
        self.river = river
        self.rates: list[float] = []

    def changed(self) -> bool:
        n = len(self.values)
        self.rates = [*self.rates[: n - 1], sum(self.values) / n]
        counted = [i for i in range(30, n) if self.river or self.rates[i] > 0.0]
        if not counted:
            return False
        levels = {i: self.rates[i] + self.deviation(i) for i in counted}
        best = min(counted, key=lambda i: (levels[i], -i))
        limit = self.rates[best] + 3.0 * self.deviation(best)
        return levels.get(n - 1, 0.0) > limit

    def deviation(self, i: int) -> float:
        p = self.rates[i]
        return math.sqrt(max(p * (1.0 - p), 0.0) / (i + 1))


class NaiveHDDMA(Naive):
    """Means from sums; the cut point is where the upper bound of the mean was lowest."""

    drift = 0.001

    def changed(self) -> bool:
        n = np.arange(1, len(self.values) + 1)
        means = np.cumsum(self.values if self.up else -np.array(self.values)) / n
        bounds = means + np.sqrt(np.log(1.0 / self.drift) / (2.0 * n))
        cut = int(np.flatnonzero(bounds == bounds.min())[-1])
        if cut == n.size - 1:
            return False
        before, total = cut + 1, n.size
        # Hoeffding for the difference of a mean and that of a part of its values.
        variance = (total - before) / (2.0 * before * total)
        bound = math.sqrt(variance * math.log(2.0 / self.drift))
        return bool(means[-1] - means[cut] >= bound)


class NaiveHDDMW(Naive):
    """Averages with every weight written out, and the sums of their squares.

    River begins with a sum of 1 before the first value, whose own weight then counts once more.
    """

    def __init__(self, weight: float = 0.05, drift: float = 0.001, *, river: bool = False) -> None:
        super().__init__()
        self.weight, self.drift, self.river = weight, drift, river
        self.cut, self.lowest = 0, math.inf

    def average(self, values: list[float]) -> tuple[float, float]:
        rest = 1.0 - self.weight
        weights = self.weight * rest ** np.arange(len(values))[::-1]
        weights[0] /= self.weight
        squares = self.river_squares(len(values)) if self.river else float((weights**2).sum())
        return float(weights @ np.array(values)), squares

    def river_squares(self, n: int) -> float:
        squares = 1.0
        for _ in range(n):
            squares = self.weight**2 + (1.0 - self.weight) ** 2 * squares
        return squares

    def changed(self) -> bool:
        if len(self.values) == 1:
            self.cut, self.lowest = 0, math.inf
        mean, squares = self.average(self.values)
        log_term = math.log(1.0 / self.drift) / 2.0
        bound = mean + math.sqrt(squares * log_term)
        if bound < self.lowest:
            self.cut, self.lowest = len(self.values), bound
            return False
        old, old_squares = self.average(self.values[: self.cut])
        new, new_squares = self.average(self.values[self.cut :])
        return new - old > math.sqrt((old_squares + new_squares) * log_term)


class NaiveADWIN:
    """Buckets that hold their values themselves; every mean and variance is taken afresh.

    River, as MOA before it, takes `min_window_length - 1` off the length of each part in the bound.
    """

    def __init__(
        self,
        delta: float = 0.002,
        clock: int = 32,
        max_buckets: int = 5,
        min_window_length: int = 5,
        grace_period: int = 10,
        span: float = 1.0,
        *,
        river: bool = False,
    ) -> None:
        self.delta, self.clock, self.min_window_length = delta, clock, min_window_length
        self.grace_period, self.span, self.river = grace_period, span, river
        self.buckets = Buckets(max_buckets)
        self.ticks = 0

    def update(self, x: float) -> list[float]:
        self.buckets.add(x)
        self.ticks += 1
        if self.ticks % self.clock or len(self.buckets.values) <= self.grace_period:
            return []
        window = Buckets(self.buckets.most)
        window.all = list(self.buckets.all)
        while self.differs():
            self.buckets.all.pop(0)
        if len(self.buckets.all) == len(window.all):
            return []
        return window.change(up=np.mean(self.buckets.values) > np.mean(window.values))

    def differs(self) -> bool:
        window = self.buckets.values
        n, total, variance = len(window), math.fsum(window), float(np.var(window))
        d = math.log(2.0 * math.log(n) / self.delta)
        n0, u0 = 0, 0.0
        less = self.min_window_length - 1 if self.river else 0
        for bucket in self.buckets.all:
            n0 += len(bucket)
            u0 += math.fsum(bucket)
            n1 = n - n0
            if min(n0, n1) < self.min_window_length:
                continue
            m = 1.0 / (n0 - less) + 1.0 / (n1 - less)
            bound = math.sqrt(2.0 * m * variance * d) + self.span * 2.0 / 3.0 * m * d
            if abs(u0 / n0 - (total - u0) / n1) > bound:
                return True
        return False
