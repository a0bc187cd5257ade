"""``streamnet inspect``: show a model file or a report."""

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
    from streamnet.cli.views.report import show_file

    show_file(file)
    return 0
