"""Rejected samples of estimators, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Never

from streamnet.errors import DataError
from streamnet.samples import DeadLetter
from streamnet.sources.base import Reason, Rejection
from streamnet.sources.columns import Columns

TARGET = "(target)"  # column of the targets; no feature has this name


def describe_rejection(letter: DeadLetter, number: int | None = None) -> str:
    """Describe why a sample was rejected; it has a number if there are several."""
    detail = letter.detail.replace(f"column {TARGET!r}", "y").replace(f" {TARGET!r}", "")
    return detail if number is None else f"sample {number}: {detail}"


def reject(letter: DeadLetter, number: int | None) -> Never:
    """Raise a `DataError` for a rejected sample."""
    raise DataError(describe_rejection(letter, number))


def check_labeled(targets: Sequence[Any], columns: Columns) -> None:
    """Refuse targets of which one is missing."""
    is_missing = columns.parse_options().is_missing
    for number, target in enumerate(targets):
        if is_missing(target):
            detail = Rejection.for_value(Reason.TARGET_MISSING, TARGET, target).detail
            raise DataError(f"sample {number}: {detail.replace(f' {TARGET!r}', '')}")
