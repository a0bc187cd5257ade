"""Slow, obvious plain-Python versions of both ensembles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

__all__ = ("NaiveLabels", "NaiveNumbers")

FLOOR = 1e-4
DAMPING = 1e-3

Row = list[float]


class Faded:
    """A mean that forgets."""

    def __init__(self, fading: float) -> None:
        self.fading, self.total, self.count = fading, 0.0, 0.0

    def add(self, loss: float, weight: float) -> None:
        self.total = self.total * self.fading + weight * loss
        self.count = self.count * self.fading + weight

    @property
    def mean(self) -> float:
        return self.total / self.count


class Weights:
    """Of one mixer, moved by plain gradient or by AdaGrad."""

    def __init__(self, weights: Row) -> None:
        self.weights, self.squares = weights, [0.0] * len(weights)

    def adagrad(self, slopes: Row, rate: float) -> None:
        for k, slope in enumerate(slopes):
            self.squares[k] += slope**2
            self.weights[k] -= rate * slope / math.sqrt(self.squares[k] + DAMPING)

    def plain(self, slopes: Row, rate: float) -> None:
        for k, slope in enumerate(slopes):
            self.weights[k] -= rate * slope


def by_loss(losses: Sequence[Faded], able: Sequence[bool], rate: float) -> Row:
    """Weights that fall exponentially with the faded loss."""
    means = [
        faded.mean if can and faded.count > 0 else None
        for faded, can in zip(losses, able, strict=True)
    ]
    known = [mean for mean in means if mean is not None]
    if not known:
        return [0.0] * len(means)
    powers = [
        0.0 if mean is None else math.exp(-rate * (mean - min(known)) * faded.count)
        for mean, faded in zip(means, losses, strict=True)
    ]
    return [power / sum(powers) for power in powers]


def falling(losses: Row, rate: float) -> Row:
    """Shares that fall exponentially with losses."""
    powers = [math.exp(rate * (min(losses) - loss)) for loss in losses]
    return [power / sum(powers) for power in powers]


class Kept(NamedTuple):
    """What is kept of a sample until its label comes."""

    said: Any  # shares by mixer, or numbers
    opinions: Any  # of the experts
    able: list[bool]
    last: Any  # the last label before it
    about: Any  # number of labels known, or center and spread


class _Naive:
    pace = 1.0  # factor of all rates at the last label

    def __init__(
        self, candidates: int, *, mixers: int, fading: float, members: list[int] | None
    ) -> None:
        experts = candidates + 2
        self.candidates = candidates
        self.fading = fading
        self.members = [1] * experts if members is None else list(members)
        share = 1.0 / sum(self.members)
        self.mixers = [Weights([share * m for m in self.members]) for _ in range(mixers)]
        self.final = Weights([1.0 / (mixers + 1)] * (mixers + 1))
        self.losses = [Faded(fading) for _ in range(experts)]
        self.combined = [Faded(fading) for _ in range(mixers + 2)]

    def able(self, alive: Sequence[int]) -> list[bool]:
        heard = [*alive, 1, 1]
        return [bool(m and a) for m, a in zip(self.members, heard, strict=True)]


def pool(weights: Row, opinions: list[Row]) -> Row:
    """Logarithmic opinion pool."""
    known = len(opinions[0])
    exponents = [
        sum(w * opinion[c] for w, opinion in zip(weights, opinions, strict=True))
        for c in range(known)
    ]
    powers = [math.exp(exponent - max(exponents)) for exponent in exponents]
    return [power / sum(powers) for power in powers]


def logs(shares: Row) -> Row:
    return [math.log(max(share, FLOOR)) for share in shares]


class NaiveLabels(_Naive):
    """Shares of labels."""

    RATES = ((0.002, False), (0.008, False), (0.02, True), (0.08, True))

    def __init__(self, candidates: int, *, fading: float, members: list[int] | None = None) -> None:
        super().__init__(candidates, mixers=4, fading=fading, members=members)
        self.all: dict[int, float] = {}
        self.after: dict[int | None, dict[int, float]] = {}
        self.last: int | None = None

    def prior(self, counts: dict[int, float], known: int) -> Row:
        total = sum(counts.get(c, 0.0) for c in range(known)) + 1.0
        return logs([(counts.get(c, 0.0) + 1.0 / known) / total for c in range(known)])

    def serve(
        self, answers: list[Row], alive: Sequence[int], truth: int, known: int, weight: float = 1.0
    ) -> Row:
        """Shares of the known labels; then the truth is learned unless it is -1."""
        served, kept = self.predict(answers, alive, known)
        if truth >= 0:
            self.learn_late(kept, truth, 1, weight)
        return served

    def predict(self, answers: list[Row], alive: Sequence[int], known: int) -> tuple[Row, Kept]:
        """Shares of the known labels, and what is needed to learn the truth later."""
        if not known:
            return [], Kept(None, None, [], self.last, 0)
        said, opinions, able = self.answer(answers, alive, known)
        losses = [faded.total for faded in self.combined]
        shares = falling(losses, 0.2 * self.pace)
        served = [dot(shares, [row[c] for row in said]) for c in range(known)]
        return served, Kept(said, opinions, able, self.last, known)

    def learn_late(self, kept: Kept, truth: int, age: int, weight: float = 1.0) -> None:
        """Learn a label that comes so many samples after its own."""
        self.pace = age**-0.5
        if kept.said:
            now = [pool(mixer.weights, kept.opinions) for mixer in self.mixers]
            self.learn(kept.said, now, kept.opinions, kept.able, truth, kept.about, weight)
        for counts in (self.all, self.after.setdefault(kept.last, {})):
            for label in counts:
                counts[label] *= self.fading
            counts[truth] = counts.get(truth, 0.0) + weight
        self.last = truth

    def answer(
        self, answers: list[Row], alive: Sequence[int], known: int
    ) -> tuple[list[Row], list[Row], list[bool]]:
        able = self.able(alive)
        opinions = [
            logs(answer[:known]) if can else [0.0] * known
            for answer, can in zip(answers, able, strict=False)
        ]
        for place, counts in enumerate((self.after.get(self.last, {}), self.all)):
            can = able[self.candidates + place]
            opinions.append(self.prior(counts, known) if can else [0.0] * known)
        shares = [pool(mixer.weights, opinions) for mixer in self.mixers]
        shares.append(pool(by_loss(self.losses, able, self.pace), opinions))
        shares.append(pool(self.final.weights, [logs(said) for said in shares]))
        return shares, opinions, able

    def learn(
        self,
        shares: list[Row],
        now: list[Row],
        opinions: list[Row],
        able: list[bool],
        truth: int,
        known: int,
        weight: float,
    ) -> None:
        """Learn from what was said, and what the mixers would say now."""
        new = truth >= known
        for k, opinion in enumerate(opinions):
            if self.members[k]:
                right = able[k] and not new
                self.losses[k].add(-opinion[truth] if right else -math.log(FLOOR), weight)
        for faded, said in zip(self.combined, shares, strict=True):
            faded.add(-math.log(FLOOR) if new else -logs(said)[truth], weight)
        if new:
            return
        weight = min(weight, 16.0)
        paces = self.pace, self.pace**2, self.pace, self.pace
        rules = zip(self.mixers, now, paces, self.RATES, strict=True)
        for mixer, said, pace, (rate, adaptive) in rules:
            slopes = [weight * slope(opinion, said, truth) for opinion in opinions]
            (mixer.adagrad if adaptive else mixer.plain)(slopes, pace * rate)
        inputs = [logs(said) for said in shares[:-1]]
        final = pool(self.final.weights, inputs)
        slopes = [weight * slope(one, final, truth) for one in inputs]
        self.final.adagrad(slopes, self.pace * 0.02)


def slope(opinion: Row, said: Row, truth: int) -> float:
    """Of the pool's log-loss by the weight of one opinion."""
    return sum(s * o for s, o in zip(said, opinion, strict=True)) - opinion[truth]


def near(z: float, most: float = 10.0) -> float:
    return min(max(z, -most), most)


class NaiveNumbers(_Naive):
    """Numbers in standard units."""

    def __init__(self, candidates: int, *, fading: float, members: list[int] | None = None) -> None:
        super().__init__(candidates, mixers=5, fading=fading, members=members)
        self.last: float | None = None
        self.unit: float | None = None  # of the losses

    def serve(
        self,
        answers: Row,
        alive: Sequence[int],
        truth: float,
        center: float,
        spread: float,
        weight: float = 1.0,
    ) -> float:
        """The number; then the truth is learned unless it is NaN."""
        served, kept = self.predict(answers, alive, center, spread)
        if math.isfinite(truth):
            self.learn_late(kept, truth, 1, weight)
        return served

    def predict(
        self, answers: Row, alive: Sequence[int], center: float, spread: float
    ) -> tuple[float, Kept]:
        """The number, and what is needed to learn the truth later."""
        able = self.able(alive)
        opinions = [
            near((answer - center) / spread) if can else 0.0
            for answer, can in zip(answers, able, strict=False)
        ]
        told = self.last is not None and able[self.candidates]
        opinions.append(near(((self.last or 0.0) - center) / spread) if told else 0.0)
        opinions.append(0.0)
        said = self.mix(opinions, able)
        about = center, spread
        least = min(faded.total for faded in self.combined)
        # In units of the lowest mean loss; nothing is known before the first target.
        losses = [
            (faded.total - least) / least * faded.count if faded.total > least else 0.0
            for faded in self.combined
        ]
        served = dot(falling(losses, 0.2 * self.pace), said)
        return center + spread * served, Kept(said, opinions, able, None, about)

    def mix(self, opinions: Row, able: list[bool]) -> Row:
        """What all mixers say."""
        self.mixers[3].weights = by_loss(self.losses, able, 0.3 * self.pace)
        self.mixers[4].weights = self.by_inverse_loss(able)
        said = [near(dot(mixer.weights, opinions)) for mixer in self.mixers]
        said.append(dot(by_loss(self.losses, able, self.pace), opinions))
        said.append(near(dot(self.final.weights, said)))
        return said

    def by_inverse_loss(self, able: list[bool]) -> Row:
        means = [
            faded.mean if can and faded.count > 0 else math.inf
            for faded, can in zip(self.losses, able, strict=True)
        ]
        powers = [0.0 if mean == math.inf else (min(means) / mean) ** 8 for mean in means]
        return [power / (sum(powers) or 1.0) for power in powers]

    def learn_late(self, kept: Kept, truth: float, age: int, weight: float = 1.0) -> None:
        """Learn a number that comes so many samples after its own."""
        said, opinions, able, _, (center, spread) = kept
        now = self.mix(opinions, able)
        self.pace = age**-0.5
        for faded in (*self.losses, *self.combined):
            faded.total *= (self.unit or spread) / spread
        self.unit = spread
        self.learn(said, now, opinions, able, (truth - center) / spread, weight)
        self.last = truth

    def learn(
        self, said: Row, now: Row, opinions: Row, able: list[bool], y: float, weight: float
    ) -> None:
        """Learn from what was said, and what the mixers say now."""
        for k, opinion in enumerate(opinions):
            if self.members[k]:
                self.losses[k].add(min(abs(opinion - y) if able[k] else 10.0, 1e3), weight)
        for faded, number in zip(self.combined, said, strict=True):
            faded.add(min(abs(number - y), 1e3), weight)
        length = 0.01 + sum(opinion**2 for opinion in opinions)
        steps = [near(now[0] - y, 1.0) * opinion / length for opinion in opinions]
        weight = min(weight, 16.0)
        self.mixers[0].plain(steps, 1.0 - (1.0 - 0.05 * self.pace) ** weight)
        for m, rate in ((1, 0.01), (2, 0.03)):
            steep = weight * near((now[m] - y) / 0.1, 1.0)
            self.mixers[m].adagrad([steep * opinion for opinion in opinions], self.pace * rate)
        final = near(dot(self.final.weights, said[:-1]))
        steep = weight * near((final - y) / 0.1, 1.0)
        self.final.adagrad([steep * number for number in said[:-1]], self.pace * 0.02)


def dot(weights: Row, numbers: Row) -> float:
    return sum(w * number for w, number in zip(weights, numbers, strict=False))
