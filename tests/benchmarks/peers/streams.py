"""The streams of the comparison: what is predicted, and what their columns mean."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from streamnet.errors import ConfigurationError
from streamnet.samples import Task

__all__ = ("STREAMS", "Stream", "data_folder", "stream_of")

REPOSITORY = Path(__file__).parents[3]


class Stream(NamedTuple):
    """A data file, named ``<name>.csv.gz``, in the order of its samples.

    Only peers are told what columns mean: streamnet finds it out.
    """

    name: str
    target: str
    task: Task = Task.CLASSIFICATION
    codes: tuple[str, ...] = ()  # whole numbers that name something: one-hot for linear peers
    dates: tuple[str, ...] = ()  # become a number of days
    texts: tuple[str, ...] = ()  # become counts of hashed words


_BIKE_CODES = ("season", "mnth", "hr", "weekday", "weathersit")

# The most telling first: an interrupted run has measured those.
STREAMS = (
    Stream("electricity", "class"),
    Stream("covertype", "target"),
    Stream("rbf_drift", "target"),
    Stream("letter", "letter"),
    Stream("agrawal_drift", "target", codes=("elevel", "car", "zipcode")),
    Stream("adult", "income"),
    Stream("bike_hourly", "cnt", Task.REGRESSION, codes=_BIKE_CODES, dates=("dteday",)),
    Stream("segment", "category"),
    Stream("phishing", "is_phishing"),
    Stream("eeg_eye", "eye_closed"),
    Stream("trump_approval", "five_thirty_eight", Task.REGRESSION),
    Stream("chick_weights", "weight", Task.REGRESSION, codes=("chick", "diet")),
    Stream("sms_spam", "label", texts=("text",)),
)


def stream_of(name: str) -> Stream:
    """The stream of that name.

    Raises:
        ConfigurationError: If there is none.

    >>> stream_of("letter").target
    'letter'
    """
    for stream in STREAMS:
        if stream.name == name:
            return stream
    names = ", ".join(stream.name for stream in STREAMS)
    raise ConfigurationError(f"stream is {name!r}, but must be one of {names}")


def data_folder(given: Path | None = None) -> Path:
    """Where the files are: what is given, $STREAMNET_DATA, or shared/data beside the repository."""
    if given is not None:
        return given
    named = os.environ.get("STREAMNET_DATA")
    return Path(named) if named else REPOSITORY.parent / "shared" / "data"
