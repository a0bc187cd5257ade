"""``streamnet dead-letters``: list, show or write out the rejected records of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from streamnet.cli.options import integer_option

__all__ = ("dead_letters",)


def dead_letters(
    action: Annotated[
        Literal["list", "show", "replay"],
        Parameter(
            help="list: one line each. show: one with all that is known. replay: write them to a "
            "file as they were, to be mended and learned like any other file."
        ),
    ],
    folder: Annotated[Path, Parameter(name="DIR", help="A state directory.")],
    number: Annotated[
        int | None, integer_option("Of the record that is shown, from 1.", metavar="NUMBER")
    ] = None,
    /,
    *,
    to: Annotated[
        Path | None, Parameter(metavar="FILE", help="Where replay writes; it must not exist.")
    ] = None,
) -> int:
    """List or show the records that were rejected, or write them out to be learned after all."""
    from streamnet.cli.views.dead_letters import (
        list_dead_letters,
        show_dead_letter,
        write_dead_letters,
    )

    if action == "list":
        list_dead_letters(folder)
    elif action == "show":
        show_dead_letter(folder, number)
    else:
        write_dead_letters(folder, to)
    return 0
