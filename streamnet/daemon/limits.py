"""Limits: how much one client, one request and all of them together may take."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import fields
from time import monotonic
from typing import final

from streamnet.errors import ConfigurationError

__all__ = ("Limits", "Rates")


@final
@dataclass(slots=True, kw_only=True)
class Limits:
    """What a daemon lets itself be asked.

    Args:
        body: Largest JSON body in bytes, after decompression; what is larger goes as lines, which
            are read piece by piece and hold up nobody.
        lines: Largest body of lines to answer, in bytes, after decompression, and largest answer;
            lines to learn may go on for ever.
        line: Largest line in bytes.
        model: Largest model file in bytes, after decompression.
        batches: Most bodies of lines to answer, until they are answered and that is sent, and model
            files, in memory at a time.
        connections: Most open connections.
        requests: Most requests at work at a time, event streams included.
        rate: Most requests a second of one client address, with as many at once after a rest.
        guess: What a wrong token costs, as a share of the requests of a second: it slows down who
            guesses, and holds up for no more than a second who shares the address.
        header_seconds: Longest time from a connection's first byte to the end of its headers, and
            from an answer to the end of a body that was not read for it.
        body_seconds: Longest pause between two pieces of a body.
        body_rate: Least bytes a second of a body on the whole, with ``body_seconds`` on top; lines
            to learn may come as slowly as they like.
        answer_seconds: Longest wait for a reader who takes no more of an answer.

    Raises:
        ConfigurationError: If one is not > 0.

    >>> Limits(body=1000).connections
    1000
    """

    body: int = 1 << 20
    lines: int = 64 << 20
    line: int = 1 << 20
    model: int = 32 << 20
    batches: int = 8
    connections: int = 1000
    requests: int = 500
    rate: float = 20_000.0
    guess: float = 0.1
    header_seconds: float = 10.0
    body_seconds: float = 15.0
    body_rate: float = 500.0
    answer_seconds: float = 60.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise ConfigurationError(f"{field.name} is {value}, but must be > 0")

    def take_over(self, other: Limits) -> None:
        """Be as another one from now on."""
        for field in fields(self):
            setattr(self, field.name, getattr(other, field.name))


@final
class Rates:
    """A bucket of tokens for each client address, refilled as time goes on.

    The least recently seen address is forgotten where there are too many. The rate may be that of
    limits, which may change.

    >>> clock = iter([0.0, 0.0, 0.0, 0.5]).__next__
    >>> rates = Rates(2, clock=clock)
    >>> [rates.take("a") for _ in range(4)]
    [0.0, 0.0, 0.5, 0.0]
    """

    def __init__(
        self, rate: float | Limits, *, most: int = 10_000, clock: Callable[[], float] = monotonic
    ) -> None:
        self._limits = rate if isinstance(rate, Limits) else Limits(rate=rate)
        self._most = most
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str, cost: float = 1.0) -> float:
        """Take ``cost`` from the client's bucket; the seconds to wait if there is too little."""
        now = self._clock()
        rate = self._limits.rate
        level, since = self._buckets.pop(client, (rate, now))
        # Whatever was taken, perhaps at a higher rate, is filled up again after a second.
        level = max(-rate, min(rate, level + (now - since) * rate))
        wait = 0.0 if level >= min(cost, 1.0) else (min(cost, 1.0) - level) / rate
        self._buckets[client] = (level if wait else level - cost, now)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        return wait
