"""What a call sends: its body in parts that the daemon accepts, and how their responses join."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Generator, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from streamnet.client.schemas import Predictions
from streamnet.errors import RefusedError

T = TypeVar("T")
LineStream = Iterable[bytes] | AsyncIterable[bytes]
JSON = "application/json"
_MAX_PART_BYTES = 1 << 18  # per request; the daemon's default limit is 1 MiB
_MAX_PART_ITEMS = 1000
_SPLIT_STATUSES = frozenset({413, 422})  # fewer items at a time may succeed
_ENCODER = msgspec.json.Encoder()


class Content(NamedTuple):
    """What a call sends besides its path."""

    body: bytes | LineStream | None = None
    headers: dict[str, str] = {}  # noqa: RUF012 - never mutated
    params: dict[str, str] = {}  # noqa: RUF012 - never mutated

    def parts(self) -> Generator[Content, T, T]:
        """Yield the only part, and return its response."""
        return (yield self)


class SplitContent(NamedTuple, Generic[T]):
    """Independent items that may be sent in several requests, in parts that the daemon accepts."""

    item: str  # name of one item in error messages
    sizes: Sequence[int]  # bytes of each item
    build: Callable[[slice], Content]
    join: Callable[[Sequence[T]], T]

    def parts(self) -> Generator[Content, T, T]:
        """Yield one part after the other; each is sent its response or thrown a RefusedError.

        A part that is refused is halved, down to a single item, so that the error names the item.

        Returns:
            The joined responses.

        Raises:
            RefusedError: If it is thrown, with the number of the refused item.
        """
        responses: list[T] = []
        start, most = 0, _MAX_PART_ITEMS
        while start < len(self.sizes) or not responses:
            stop = self._find_stop(start, most)
            try:
                responses.append((yield self.build(slice(start, stop))))
            except RefusedError as error:
                if error.status not in _SPLIT_STATUSES or start == stop:
                    raise
                if stop - start == 1:
                    raise self._number(error, start) from error
                most = (stop - start) // 2
            else:
                start = stop
        return self.join(responses)

    def _find_stop(self, start: int, most: int) -> int:
        end, size = min(start + most, len(self.sizes)), 0
        for stop in range(start, end):
            size += self.sizes[stop]
            if size > _MAX_PART_BYTES and stop > start:
                return stop
        return end

    def _number(self, error: RefusedError, number: int) -> RefusedError:
        """Restate the error of a single item with its number among all items."""
        detail = str(error) if error.detail is None else error.detail
        message = f"{self.item} {number}: {detail}"
        return RefusedError(message, error.status, number=number, detail=detail)


class Request(NamedTuple, Generic[T]):
    """A request and the type of its response."""

    method: str
    path: str
    reply: type[T]
    content: Content | SplitContent[T] = Content()
    idempotent: bool = True  # whether it may be repeated when its outcome is unknown


def join_predictions(parts: Sequence[Predictions]) -> Predictions:
    """Join the responses of one or more parts; a later part may know more labels.

    >>> first = Predictions(["a"], [1], labels=["a"], probabilities=[[1.0]])
    >>> rows = [[0.75, 0.25], [None, None]]
    >>> second = Predictions(["b", None], [2, 2], labels=["b", "a"], probabilities=rows)
    >>> join_predictions([first, second]).labels
    ['a', 'b']
    >>> join_predictions([first, second]).probabilities
    [[1.0, 0.0], [0.25, 0.75], [None, None]]
    """
    labels = list(dict.fromkeys(label for part in parts for label in part.labels or ()))
    joined = Predictions(
        list(chain.from_iterable(part.predictions for part in parts)),
        list(chain.from_iterable(part.generations for part in parts)),
    )
    if any(part.by is not None for part in parts):
        joined.by = [by for part in parts for by in part.by or ["model"] * len(part.predictions)]
    if all(part.labels is not None for part in parts):
        joined.labels = labels
        joined.probabilities = [row for part in parts for row in _align_probabilities(part, labels)]
    if any(part.intervals is not None for part in parts):
        joined.intervals = [row for part in parts for row in _fill_intervals(part)]
    if any(part.sets is not None for part in parts):
        joined.sets = [row for part in parts for row in part.sets or [None] * len(part.predictions)]
    if all(part.explanations is not None for part in parts):
        joined.explanations = [row for part in parts for row in part.explanations or ()]
    if any(part.warnings is not None for part in parts):
        found = chain.from_iterable(part.warnings or () for part in parts)
        joined.warnings = list(dict.fromkeys(found))
    joined.age = max((part.age for part in parts if part.age is not None), default=None)
    return joined


def _align_probabilities(part: Predictions, labels: list[str]) -> list[list[float | None]]:
    rows, known = part.probabilities or [], part.labels or []
    if known == labels:
        return rows
    # A model gave probability 0 to a label that it did not know, if it predicted at all.
    return [
        [None] * len(labels)
        if None in row
        else [dict(zip(known, row, strict=True)).get(label, 0.0) for label in labels]
        for row in rows
    ]


def _fill_intervals(part: Predictions) -> list[list[float | None]]:
    return part.intervals or [[None, None] for _ in part.predictions]


def json_content(
    body: Any, headers: Mapping[str, str] | None = None, params: dict[str, str] | None = None
) -> Content:
    """Build the content of a JSON request."""
    return Content(_ENCODER.encode(body), {"Content-Type": JSON, **(headers or {})}, params or {})


def encode_items(values: Sequence[Any]) -> tuple[list[msgspec.Raw], list[int]]:
    """Encode items one by one, to be sent in any grouping; also returns their sizes in bytes."""
    texts = [msgspec.Raw(_ENCODER.encode(value)) for value in values]
    return texts, [len(memoryview(text)) for text in texts]
