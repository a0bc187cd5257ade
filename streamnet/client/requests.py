"""Requests as values, and the splitting of large requests into parts that the daemon accepts."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Generator, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from streamnet.client.schemas import Answers
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


class Request(NamedTuple, Generic[T]):
    """A request and the type of its response."""

    method: str
    path: str
    reply: type[T]
    content: bytes | LineStream | None = None
    headers: dict[str, str] = {}  # noqa: RUF012 - never mutated
    params: dict[str, str] = {}  # noqa: RUF012 - never mutated
    idempotent: bool = True  # whether it may be repeated when its outcome is unknown


class SplitContent(NamedTuple, Generic[T]):
    """Independent items that may be sent in several requests."""

    item: str  # name of one item in error messages
    sizes: Sequence[int]  # bytes of each item
    build: Callable[[slice], Content]
    join: Callable[[Sequence[T]], T]


class SplitRequest(NamedTuple, Generic[T]):
    """A request for many independent items, sent in parts that the daemon accepts."""

    item: str
    sizes: Sequence[int]
    build: Callable[[slice], Request[T]]
    join: Callable[[Sequence[T]], T]

    def requests(self) -> Generator[Request[T], T, T]:
        """Yield one request after the other; each is sent its response or thrown a RefusedError.

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


def join_answers(parts: Sequence[Answers]) -> Answers:
    """Join the responses of one or more parts; a later part may know more labels.

    >>> first = Answers(["a"], [1], ["a"], [[1.0]])
    >>> second = Answers(["b", None], [2, 2], ["b", "a"], [[0.75, 0.25], [None, None]])
    >>> join_answers([first, second]).labels
    ['a', 'b']
    >>> join_answers([first, second]).probabilities
    [[1.0, 0.0], [0.25, 0.75], [None, None]]
    """
    labels = list(dict.fromkeys(label for part in parts for label in part.labels or ()))
    joined = Answers(
        list(chain.from_iterable(part.answers for part in parts)),
        list(chain.from_iterable(part.generations for part in parts)),
    )
    if all(part.labels is not None for part in parts):
        joined.labels = labels
        joined.probabilities = [row for part in parts for row in _align_probabilities(part, labels)]
    if any(part.intervals is not None for part in parts):
        joined.intervals = [row for part in parts for row in _fill_intervals(part)]
    if all(part.explanations is not None for part in parts):
        joined.explanations = [row for part in parts for row in part.explanations or ()]
    return joined


def _align_probabilities(part: Answers, labels: list[str]) -> list[list[float | None]]:
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


def _fill_intervals(part: Answers) -> list[list[float | None]]:
    return part.intervals or [[None, None] for _ in part.answers]


def json_content(
    body: Any, headers: Mapping[str, str] | None = None, params: dict[str, str] | None = None
) -> Content:
    """Build the content of a JSON request."""
    return Content(_ENCODER.encode(body), {"Content-Type": JSON, **(headers or {})}, params or {})


def encode_items(values: Sequence[Any]) -> list[msgspec.Raw]:
    """Encode items one by one, to be sent in any grouping."""
    return [msgspec.Raw(_ENCODER.encode(value)) for value in values]


def measure_items(texts: Sequence[msgspec.Raw]) -> list[int]:
    """Sizes of encoded items in bytes."""
    return [len(memoryview(text)) for text in texts]
