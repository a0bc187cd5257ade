"""Progress bars in terminals and notebooks, by tqdm (extra ``progress``)."""

from __future__ import annotations

import warnings
from functools import cache
from types import TracebackType
from typing import Any, Self, final

from streamnet.validation import check_bool, check_extra


@final
class ProgressBar:
    """A progress bar while its block is executed; it shows nothing unless that is wanted.

    A notebook shows a widget if ipywidgets is installed, else text, as terminals do.

    Args:
        shown: Whether there is a bar.
        total: How much there is to do; None if that is not known yet.
        unit: Of what, in the plural.

    Raises:
        ConfigurationError: If ``shown`` is no bool, or tqdm is needed and not installed.
    """

    def __init__(self, shown: bool, total: int | None = None, *, unit: str = "samples") -> None:
        self._bar: Any = None
        if check_bool("progress", shown):
            self._bar = _load_tqdm()(total=total, unit=f" {unit}", dynamic_ncols=True)

    @property
    def shown(self) -> bool:
        """Whether there is a bar."""
        return self._bar is not None

    def advance(self, count: int) -> None:
        """Note that more was done.

        Args:
            count: How much more.
        """
        if self._bar is not None:
            self._bar.update(count)

    def show(self, done: int, total: int | None, note: str = "") -> None:
        """Show how much was done so far.

        Args:
            done: How much.
            total: How much there is to do, as far as is known.
            note: What is shown behind the bar.
        """
        if self._bar is not None:
            if not self._bar.n:
                self._bar.unpause()  # what comes before the first sample is no learning
            self._bar.total = total
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(done - self._bar.n)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()


@cache
def _load_tqdm() -> Any:
    check_extra("progress", "tqdm")
    with warnings.catch_warnings():
        # It warns of an experiment, and of notebooks without ipywidgets, which show text.
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm
    return tqdm
