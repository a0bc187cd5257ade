"""Given: what a pipeline is made of, refused at once if it is of another type."""

from __future__ import annotations

from collections.abc import Iterable
from inspect import iscoroutinefunction

from streamnet.checked import real
from streamnet.checked import whole
from streamnet.errors import ConfigurationError
from streamnet.modelfiles.model import Model
from streamnet.pipeline.rejections import Rejections
from streamnet.pipeline.sinks import Sink
from streamnet.pipeline.state import State

__all__ = ("check_parts", "sinks_of")


def check_parts(
    threads: object,
    brief: object,
    state: object,
    start: object,
    rejections: object,
) -> None:
    """Check parts of a `Pipeline`, whose arguments these are.

    Raises:
        ConfigurationError: If one is of another type, or there are no threads.
    """
    if whole("threads", threads) < 1:
        raise ConfigurationError(f"threads is {threads}, but must be >= 1")
    real("brief", brief)
    for name, part, kind in (
        ("state", state, State),
        ("start", start, Model),
        ("rejections", rejections, Rejections),
    ):
        if part is not None and not isinstance(part, kind):
            raise ConfigurationError(f"{name} is {part!r}, but must be a {kind.__name__} or None")


def sinks_of(given: object) -> list[Sink]:
    """The sinks that were given; they may be such that can be read only once.

    Raises:
        ConfigurationError: If they are something else, such as one alone, or one is to be awaited.
    """
    rule = "functions, which are called in a thread"
    if not isinstance(given, Iterable):
        raise ConfigurationError(f"sinks is {given!r}, but must be a list of {rule}")
    sinks = list(given)
    for sink in sinks:
        late = iscoroutinefunction(sink) or iscoroutinefunction(type(sink).__call__)
        if late or not callable(sink):
            raise ConfigurationError(f"sinks has {sink!r}, but must have {rule}")
    return sinks
