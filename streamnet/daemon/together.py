"""Together: samples that different clients ask for at the same moment are answered by one call.

A call of a model costs as much as some hundred samples in it, so what has come in within one round
of the event loop is put together. Who asks alone waits no longer for it.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from typing import final

import anyio
from anyio import CancelScope
from anyio.lowlevel import checkpoint

from streamnet.daemon.answers import Predictions
from streamnet.errors import ConfigurationError
from streamnet.samples import Sample

__all__ = ("Together",)


@final
class Together:
    """Joins calls of one model.

    Args:
        predict: Answers samples; it raises ConfigurationError if one of them can't be read.
    """

    def __init__(self, predict: Callable[[Sequence[Sample]], Predictions]) -> None:
        self._predict = predict
        self._gathering: _Call | None = None

    async def predict(self, samples: Sequence[Sample]) -> Predictions:
        """The answers for these samples, by whichever call.

        Raises:
            ConfigurationError: If one of these samples can't be read.
        """
        call = self._gathering
        if call is None:
            call = self._gathering = _Call()
            start = call.add(samples)
            try:
                with CancelScope(shield=True):
                    await checkpoint()
            finally:  # others count on this call, also if asyncio itself cancels it
                self._gathering = None
                call.make(self._predict)
        else:
            start = call.add(samples)
            await call.made.wait()
        if call.said is None:
            # Perhaps because of a sample of somebody else: each of us asks by itself.
            return self._predict(samples)
        said, end = call.said, start + len(samples)
        shares = None if said.shares is None else said.shares[start:end]
        return said._replace(values=said.values[start:end], shares=shares)


@final
class _Call:
    def __init__(self) -> None:
        self._samples: list[Sample] = []
        self.said: Predictions | None = None
        self.made = anyio.Event()

    def add(self, samples: Sequence[Sample]) -> int:
        start = len(self._samples)
        self._samples += samples
        return start

    def make(self, predict: Callable[[Sequence[Sample]], Predictions]) -> None:
        try:
            self.said = predict(self._samples)
        except ConfigurationError:
            self.said = None
        finally:
            self.made.set()
