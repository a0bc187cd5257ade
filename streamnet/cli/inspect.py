"""``streamnet inspect``: what is in a model file or a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

__all__ = ("inspect",)


def inspect(
    file: Annotated[
        Path, Parameter(help="A model file, or a report of replay, train or evaluate.")
    ],
    /,
) -> int:
    """Show what is in a model file or in a report."""
    from streamnet.cli.showing import show

    show(file)
    return 0
