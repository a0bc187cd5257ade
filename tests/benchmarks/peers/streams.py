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
    """A data file, named ``<name>.csv.gz`` unless it says so, in the order of its samples.

    Only peers are told what columns mean: streamnet finds it out.
    """

    name: str
    target: str
    task: Task = Task.CLASSIFICATION
    codes: tuple[str, ...] = ()  # whole numbers that name something: one-hot for linear peers
    dates: tuple[str, ...] = ()  # with a time of day or without; become a number of days
    texts: tuple[str, ...] = ()  # become counts of hashed words
    lags: int = 0  # last targets that learners which are fitted anew see
    folder: str = ""  # relative to that of the data
    file: str = ""  # of a user's own stream


_MEANINGS = ("codes", "dates", "texts")
_SECOND = "../data2"  # beside the first set
_CLICK_CODES = ("user", "item", "campaign", "advertiser")
_BIKE_CODES = ("season", "mnth", "hr", "weekday", "weathersit")

# The most telling first: an interrupted run has measured those.
STREAMS = (
    Stream("electricity", "class", lags=2),
    Stream("covertype", "target"),
    Stream("rbf_drift", "target"),
    Stream("letter", "letter"),
    Stream("agrawal_drift", "target", codes=("elevel", "car", "zipcode")),
    Stream("adult", "income"),
    Stream("bike_hourly", "cnt", Task.REGRESSION, codes=_BIKE_CODES, dates=("dteday",), lags=3),
    Stream("segment", "category"),
    Stream("phishing", "is_phishing"),
    Stream("eeg_eye", "eye_closed", lags=2),
    Stream("trump_approval", "five_thirty_eight", Task.REGRESSION, lags=3),
    Stream("chick_weights", "weight", Task.REGRESSION, codes=("chick", "diet")),
    Stream("sms_spam", "label", texts=("text",)),
    Stream("ai4i", "Machine failure", folder=_SECOND),
    Stream("keystroke", "class", folder=_SECOND),
    Stream("taxis", "tip", Task.REGRESSION, dates=("pickup", "dropoff"), folder=_SECOND),
    Stream("clicks", "click", codes=_CLICK_CODES, folder=_SECOND),
    Stream("walking", "person", folder=_SECOND),
    Stream("usenet1", "interesting", lags=2, folder=_SECOND),
    Stream("connect4", "Class", folder=_SECOND),
    Stream("rialto_mixed", "class", folder=_SECOND),
    Stream("gas_turbine", "Nitrogen oxides", Task.REGRESSION, lags=3, folder=_SECOND),
    Stream("pm25", "pm2.5", Task.REGRESSION, lags=3, folder=_SECOND),
    Stream("avocado", "AveragePrice", Task.REGRESSION, dates=("Date",), folder=_SECOND),
    Stream("banking77", "category", texts=("text",), folder=_SECOND),
    Stream("kdd99", "label", folder=_SECOND),
)


def stream_of(name: str) -> Stream:
    """The stream of that name, or one of a user's own.

    Args:
        name: Of one of the streams here, or FILE:TARGET[:TASK[:MEANING=COLUMN,...]...], where
            MEANING is codes, dates or texts, and lags=N the last targets that learners which are
            fitted anew see.

    Raises:
        ConfigurationError: If there is none, or it is not told so.

    >>> stream_of("letter").target
    'letter'
    >>> stream_of("shop.csv:sold:regression:codes=hour,store").codes
    ('hour', 'store')
    """
    for stream in STREAMS:
        if stream.name == name:
            return stream
    if ":" in name:
        return _own(name)
    names = ", ".join(stream.name for stream in STREAMS)
    raise ConfigurationError(f"stream is {name!r}, but must be one of {names}, or FILE:TARGET")


def _own(name: str) -> Stream:
    file, target, *rest = name.split(":")
    task = rest[0] if rest else Task.CLASSIFICATION.value
    if task not in list(Task):
        raise ConfigurationError(
            f"task of stream {name!r} is {task!r}, but must be one of {', '.join(Task)}"
        )
    meanings: dict[str, tuple[str, ...]] = {}
    lags = 0
    for part in rest[1:]:
        meaning, _, columns = part.partition("=")
        if meaning == "lags" and columns.isdecimal():
            lags = int(columns)
            continue
        if meaning not in _MEANINGS:
            raise ConfigurationError(
                f"meaning of columns of stream {name!r} is {meaning!r}, but must be one of "
                f"{', '.join(_MEANINGS)}"
            )
        meanings[meaning] = tuple(columns.split(","))
    codes, dates, texts = (meanings.get(meaning, ()) for meaning in _MEANINGS)
    return Stream(name, target, Task(task), codes, dates, texts, lags, file=file)


def data_folder(given: Path | None = None) -> Path:
    """Where the files are: what is given, $STREAMNET_DATA, or shared/data beside the repository."""
    if given is not None:
        return given
    named = os.environ.get("STREAMNET_DATA")
    return Path(named) if named else REPOSITORY.parent / "shared" / "data"
