"""PartitionRun: the run of a partition, with a state and outputs of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, final

from anyio import CancelScope, Event, move_on_after, to_thread

from streamnet.errors import InUseError, NoCandidateError, StreamnetError
from streamnet.pipeline.parts import Part
from streamnet.runs.replay import Replay
from streamnet.settings.run import RunSettings, validate_settings
from streamnet.settings.sinks import SENT_OUTPUTS, find_sink, place_partition

logger: logging.Logger = logging.getLogger("streamnet.runs")

RETRY_SECONDS = 0.5  # until a state that another process holds is tried again


def place_outputs(settings: RunSettings, number: int, folder: str) -> dict[str, Any]:
    """Settings as plain values, with the places of a partition.

    Args:
        settings: Settings of all partitions.
        number: The partition.
        folder: Name of its state directory in that of the settings.
    """
    values = settings.model_dump(exclude_unset=True)
    values["state"]["dir"] = f"{str(settings.state.dir).rstrip('/')}/{folder}"
    part, output = Part(str(number), slug=str(number)), values.get("output", {})
    for name in ("model", "report", *SENT_OUTPUTS):
        if (place := output.get(name)) is not None:
            sent = name in SENT_OUTPUTS and find_sink(place) is not None
            output[name] = place_partition(place, number) if sent else part.place(place)
    return values


def build_key_partition_settings(settings: RunSettings, number: int) -> RunSettings:
    """The settings of the run of one partition of keys."""
    values = place_outputs(settings, number, f"partition-{number}")
    values["fleet"] = {"partitions": settings.fleet.partitions, "partition": number}
    return validate_settings(RunSettings, values)


@final
class PartitionRun:
    """Learns a partition, from its last checkpoint on, until it ends or is stopped.

    While another process holds the state, it waits.

    Args:
        number: The partition.
        make: Makes its run; called in a thread, and again after it had to wait.
    """

    def __init__(self, number: int, make: Callable[[], Replay]) -> None:
        self.number: int = number
        self.replay: Replay | None = None
        self.waits_for: str = ""
        self.failure: StreamnetError | None = None
        self.stopped: Event = Event()
        self.ended: Event = Event()
        self.scope: CancelScope = CancelScope()
        self._make = make

    def stop(self) -> None:
        """Learn what was read, and end."""
        self.stopped.set()
        if self.replay is not None:
            self.replay.pipeline.stop()

    async def run(self) -> None:
        """Learn the partition; ``failure`` is why it has failed."""
        try:
            with self.scope:
                while not self.stopped.is_set():
                    await self._learn()
        except StreamnetError as error:
            # What fails once it is stopped, such as a run without a sample, is not missed.
            if not (self.stopped.is_set() and isinstance(error, NoCandidateError)):
                self.failure = error
        finally:
            self.ended.set()

    async def _learn(self) -> None:
        """Learn, if the state can be had; otherwise wait a moment."""
        self.replay = replay = await to_thread.run_sync(self._make)
        try:
            if not self.stopped.is_set():
                await replay.run()
        except InUseError as error:
            self.replay = None
            if not self.waits_for:
                logger.warning("%s; waiting", error)
            self.waits_for = str(error)
            with move_on_after(RETRY_SECONDS):
                await self.stopped.wait()
        else:
            self.stop()
