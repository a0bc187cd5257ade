"""Every error that streamnet raises on purpose.

StreamnetError
├── BusyError
├── ConfigurationError (ValueError)
│   └── SampleError
├── ConflictError
├── DataError (ValueError)
│   ├── ReadError
│   ├── SchemaError
│   └── TooManyRejectedError
├── ModelFileError
├── NoCandidateError
├── NotReadyError
├── OutputError
│   └── ClosedError
├── RefusedError
└── StateError
    ├── DamagedStateError
    └── InUseError (OutputError)

Their messages are written for the person who can fix the cause: they name the thing, its value, the
rule it breaks and where it is. The command line prints them without a traceback.
"""

from __future__ import annotations

from typing import Any


class StreamnetError(Exception):
    """Root of all errors raised on purpose by streamnet."""


class BusyError(StreamnetError):
    """Raised when so much waits to be learned that no more is accepted at the moment.

    Args:
        message: What waits.
        retry_after: Seconds after which there should be room.
    """

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ConfigurationError(StreamnetError, ValueError):
    """Raised when a setting has a value that its rule does not allow."""


class SampleError(ConfigurationError):
    """Raised when one of several samples can't be read.

    Args:
        number: Its number, from 0.
        detail: What is wrong with it.
    """

    def __init__(self, number: int, detail: str) -> None:
        super().__init__(f"sample {number}: {detail}")
        self.number = number
        self.detail = detail

    def __reduce__(self) -> tuple[Any, ...]:
        return SampleError, (self.number, self.detail)


class ConflictError(StreamnetError):
    """Raised when a key or a name is reused for something else."""


class DataError(StreamnetError, ValueError):
    """Raised when a source can't be read or holds nothing that can be learned."""


class ReadError(DataError):
    """Raised when reading fails for a reason that may pass, such as an I/O error."""


class SchemaError(DataError):
    """Raised when a source lacks a required column, or its columns make no sense."""


class TooManyRejectedError(DataError):
    """Raised when more samples of the recent past were rejected than the limit allows."""


class ModelFileError(StreamnetError):
    """Raised when a model file is damaged, foreign, or of a format version that is not known."""


class NoCandidateError(StreamnetError):
    """Raised when no candidate has a finite prediction."""


class NotReadyError(StreamnetError):
    """Raised when a prediction is requested before there is a model."""


class OutputError(StreamnetError):
    """Raised when an output can't be written and no more of it can wait in memory."""


class ClosedError(OutputError):
    """Raised when an output is closed, so that it takes no more."""


class RefusedError(StreamnetError):
    """Raised by a client when a daemon refuses a request, or can't be reached.

    Args:
        message: What the daemon says.
        status: That of HTTP; 0 if there was no response.
        receipt: What was accepted before, of a stream of lines; see `streamnet.client.schemas`.
        number: Number of the refused sample or label, from 0, if it is one of several.
        detail: What is wrong with that one.
    """

    def __init__(
        self,
        message: str,
        status: int = 0,
        receipt: Any = None,
        number: int | None = None,
        detail: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.receipt = receipt
        self.number = number
        self.detail = detail


class StateError(StreamnetError):
    """Raised when a state directory is in use, belongs to another run, or can't be resumed."""


class DamagedStateError(StateError):
    """Raised when a checkpoint, every one of a state directory, or its settings are damaged."""


class InUseError(StateError, OutputError):
    """Raised when another process has a state directory or an output, or has taken it over."""
