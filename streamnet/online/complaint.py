"""What is wrong with a sample, in words of who gave it to an estimator."""

from __future__ import annotations

from streamnet.samples import DeadLetter

__all__ = ("TARGET", "complaint")

TARGET = "(target)"  # the column of targets: no feature is called so


def complaint(letter: DeadLetter, number: int | None = None) -> str:
    """What is wrong with a sample, and which of several it is."""
    what = letter.detail.replace(f"column {TARGET!r}", "y").replace(f" {TARGET!r}", "")
    return what if number is None else f"sample {number}: {what}"
