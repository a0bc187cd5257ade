"""Sinks: callables that receive served blocks, and sinks whose file survives a crash."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from streamnet.learning.serving import Served

__all__ = (
    "ResumableSink",
    "Sink",
)


class ResumableSink(ABC):
    """A sink that knows how much it has written.

    The recording stage calls it with every served block, and `export_state` at a cut; the state's
    thread then calls `sync`, before the checkpoint is written that says how long the file is.
    """

    name: str  # unique among the outputs of a run

    @abstractmethod
    def __call__(self, served: Served) -> None:
        """Take a served block."""

    @abstractmethod
    def begin(self) -> None:
        """Make ready for a run that begins anew.

        Raises:
            ConfigurationError: If the file can't be made.
        """

    def begin_unsaved(self) -> None:
        """Make ready for a run that goes on, but whose state knows nothing of this output.

        Raises:
            StateError: If the file holds something, which would be lost.
            ConfigurationError: If it can't be made.
        """
        self.begin()

    @abstractmethod
    def export_state(self) -> dict[str, Any]:
        """Hand all that was taken to the operating system, and say what is needed to go on.

        Raises:
            OSError: If something can't be written.
        """

    @abstractmethod
    def restore_state(self, state: dict[str, Any]) -> None:
        """Go on as the output did whose state this is; what it wrote later is cut off.

        Raises:
            StateError: If the file is not the same any more.
            ConfigurationError: If it can't be written.
        """

    @abstractmethod
    def sync(self) -> None:
        """Put on the disk what was handed to the operating system.

        Raises:
            OSError: If that fails.
        """


Sink = Callable[[Served], None]
"""Takes every served block in order, in a worker thread; what it raises ends the run."""
