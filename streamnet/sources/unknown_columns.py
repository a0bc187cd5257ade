"""Columns of samples to predict that a model does not know: refused, reported or ignored."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, final

from streamnet.errors import SampleError, SchemaError
from streamnet.settings.inference import OnUnknown, check_policy
from streamnet.sources.columns import format_names, suggest_column
from streamnet.sources.frames import is_frame, is_matrix
from streamnet.sources.rows import to_mapping

MAX_WARNINGS = 10  # logged by one check

logger: logging.Logger = logging.getLogger("streamnet.sources")


def describe_unknown(
    names: Sequence[Any], known: Collection[str], there: Collection[Any] = ()
) -> str:
    """Say that a model does not know some columns, and which ones may have been meant.

    Those that are ``there`` are not.

    >>> describe_unknown(["wnd", 7], ["wind", "rain"])
    "the model does not know the columns 'wnd', 7. Did you mean 'wind'?"
    """
    columns = "column" if len(names) == 1 else "columns"
    absent = sorted(name for name in known if name not in there)
    meant = (suggest_column(name, absent) for name in names if isinstance(name, str))
    suggestion = next(filter(None, meant), "")
    ending = f".{suggestion}" if suggestion else f"; it knows {format_names(sorted(known))}"
    return f"the model does not know the {columns} {format_names(names)}{ending}"


@final
class ColumnCheck:
    """Checks the columns of samples to predict against those that a model knows.

    A sample without any known column would be predicted like an empty one: it is refused, unless
    the model is still learning, when the policy applies to it as well.

    Args:
        policy: What to do with columns that the model does not know.
        expected: Other columns that samples may have, such as the target.
        learning: Whether the model may learn new columns later.

    >>> check = ColumnCheck("raise")
    >>> check.know(["temperature", "wind"])
    >>> check.rows([{"temprature": 3.5, "wind": 1}])
    Traceback (most recent call last):
    streamnet.errors.SampleError: sample 0: the model does not know the column 'temprature'. Did you
    mean 'temperature'?
    """

    def __init__(
        self, policy: OnUnknown, expected: Iterable[str] = (), *, learning: bool = False
    ) -> None:
        self.policy: OnUnknown = check_policy(policy)
        self._learning = learning
        self._expected = frozenset(expected)
        self._known = self._accepted = frozenset[str]()
        self._reported: set[str] = set()

    def know(self, names: Iterable[Any]) -> None:
        """Replace the columns that the model knows; without any, nothing is checked."""
        self._known = frozenset(name for name in names if isinstance(name, str))
        self._accepted = self._known | self._expected

    def samples(self, given: Any, rows: Sequence[Any]) -> None:
        """Check samples that were ``given`` in any form and read as rows; see `rows` and `table`.

        The columns of a matrix have no names of their own, so there is nothing to check.
        """
        if type(given) is dict:
            if not given or not given.keys() <= self._known:  # unusual
                self.rows(rows)
        elif is_frame(given):
            self.table(rows[0] if rows else (), "X")
        elif not is_matrix(given):
            self.rows(rows)

    def rows(self, samples: Sequence[Any]) -> str | None:
        """Check samples; return the message about unknown columns if the policy is to warn.

        Raises:
            SampleError: If a sample is refused.
        """
        known = self._known
        unknown: dict[Any, None] = {}
        there: set[Any] = set()
        for number, given in enumerate(samples if known else ()):
            if type(given) is dict and given and given.keys() <= known:
                continue
            sample = to_mapping(given)
            if not isinstance(sample, Mapping):
                continue  # rejected when it is read
            if known.isdisjoint(sample) and not self._learning:
                raise SampleError(number, self._describe_stranger(sample))
            names = [name for name in sample if name not in self._accepted]
            if names and self.policy == "raise":
                raise SampleError(number, describe_unknown(names, known, sample))
            if names:
                unknown.update(dict.fromkeys(names))
                there |= sample.keys()
        return self._report(list(unknown), there) if unknown else None

    def table(self, names: Iterable[str], where: str) -> str | None:
        """Check the columns of a table, called ``where`` in messages; otherwise like `rows`.

        Raises:
            SchemaError: If the table is refused.
        """
        known, names = self._known, list(names)
        if not known or not names:
            return None
        unknown = [name for name in names if name not in self._accepted]
        if known.isdisjoint(names) and not self._learning:
            raise SchemaError(f"{where}: {self._describe_stranger(names)}")
        if unknown and self.policy == "raise":
            raise SchemaError(f"{where}: {describe_unknown(unknown, known, names)}")
        return self._report(unknown, names, f"{where}: ")

    def _describe_stranger(self, names: Iterable[str]) -> str:
        there = list(names)
        unknown = [name for name in there if name not in self._accepted]
        if unknown:
            return describe_unknown(unknown, self._known)
        what = "has no column" if there else "is empty, without any column"
        return f"it {what} that the model knows: {format_names(sorted(self._known))}"

    def _report(
        self, unknown: Sequence[str], there: Collection[Any], where: str = ""
    ) -> str | None:
        """Log what was not reported before, and return the whole message."""
        if not unknown or self.policy != "warn":
            return None
        message = f"{where}{describe_unknown(unknown, self._known, there)}"
        if not self._reported.issuperset(unknown) and len(self._reported) < MAX_WARNINGS:
            self._reported.update(unknown)
            logger.warning("%s", message)
        return message
