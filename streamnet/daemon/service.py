"""Service: what all endpoints of a daemon share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field
from typing import final
from weakref import WeakKeyDictionary

import anyio
from anyio import CapacityLimiter
from starlette.exceptions import HTTPException
from starlette.requests import Request

from streamnet.daemon.access import Access
from streamnet.daemon.access import Scope
from streamnet.daemon.hosted import Hosted
from streamnet.daemon.intervals import interval_of
from streamnet.daemon.limits import Limits
from streamnet.daemon.limits import Rates
from streamnet.daemon.metrics import Metrics
from streamnet.daemon.problems import refusal
from streamnet.daemon.registry import Registry
from streamnet.daemon.together import Together

__all__ = ("Service",)


_Interval = tuple[tuple[int, int], tuple[float, float] | None]  # life and generation, and its ends


@final
@dataclass(frozen=True, kw_only=True)
class Service:
    """What endpoints work with.

    Args:
        registry: The models.
        access: Who may do what.
        limits: How much of it.
        rates: Buckets of the clients, from which a wrong token draws too.
        metrics: Counters of the requests.
        stopping: Set when the daemon ends, upon which event streams end.
    """

    registry: Registry
    access: Access
    limits: Limits
    rates: Rates
    metrics: Metrics
    stopping: anyio.Event
    # One thread for large work: it shares the interpreter with the loop, and two would share less.
    worker: CapacityLimiter = field(init=False, default_factory=lambda: CapacityLimiter(1))
    batches: anyio.Semaphore = field(init=False)
    _together: WeakKeyDictionary[Hosted, Together] = field(
        init=False, default_factory=WeakKeyDictionary
    )

    _intervals: WeakKeyDictionary[Hosted, _Interval] = field(
        init=False, default_factory=WeakKeyDictionary
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "batches", anyio.Semaphore(self.limits.batches))

    def model(self, request: Request) -> Hosted:
        """The model that a path names.

        Raises:
            HTTPException: 404, if there is none of that name.
        """
        name = request.path_params["name"]
        hosted = self.registry.models.get(name)
        if hosted is None:
            raise refusal(404, "there is no model of that name")
        return hosted

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Hold one of the places for large bodies.

        Raises:
            HTTPException: 503, if all are taken.
        """
        try:
            self.batches.acquire_nowait()
        except anyio.WouldBlock as error:
            raise refusal(503, "too many batches are at work", retry_after="1") from error
        try:
            yield
        finally:
            self.batches.release()

    def together(self, hosted: Hosted) -> Together:
        """What joins the calls of a model."""
        joined = self._together.get(hosted)
        if joined is None:
            joined = self._together[hosted] = Together(hosted.predict)
        return joined

    def until_it_stops(self) -> tuple[anyio.Event, HTTPException]:
        """What ends the reading of a long body, and what is told then."""
        told = "the daemon stops: what came later is not taken"
        return self.stopping, refusal(503, told, connection="close")

    def interval(self, hosted: Hosted, generation: int) -> tuple[float, float] | None:
        """What makes an interval of a model's numbers, reckoned once for each generation."""
        known, model = self._intervals.get(hosted), (hosted.lives, generation)
        if known is None or known[0] != model:  # after a reset, generations begin anew
            residuals = hosted.residuals()
            ends = None if residuals is None else interval_of(residuals)
            known = self._intervals[hosted] = (model, ends)
        return known[1]

    def admit(self, request: Request, scope: Scope) -> None:
        """Let who has the scope pass.

        Raises:
            HTTPException: 401 without a token that is known, 403 without the scope.
        """
        if self.access.is_open:
            return
        sent = request.headers.get("authorization")
        authorization = None if sent is None else sent.encode("latin-1")
        if self.access.allows(authorization, scope):
            return
        if self.access.knows(authorization):
            raise refusal(403, f"the token has not the scope {scope}")
        client = "" if request.client is None else request.client.host
        self.rates.take(client, self.limits.guess * self.limits.rate)
        detail = "a token is needed, as Authorization: Bearer TOKEN"
        raise refusal(401, detail, www_authenticate="Bearer")
