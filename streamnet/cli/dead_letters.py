"""``streamnet dead-letters``: the records of a run that could not be learned."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from typing import Literal

from cyclopts import Parameter

from streamnet.cli.parameters import count

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
        int | None, count("Of the record that is shown, from 1.", metavar="NUMBER")
    ] = None,
    /,
    *,
    to: Annotated[
        Path | None, Parameter(metavar="FILE", help="Where replay writes; it must not exist.")
    ] = None,
) -> int:
    """List or show the records that were rejected, or write them out to be learned after all."""
    from streamnet.cli.letters import list_letters
    from streamnet.cli.letters import replay_letters
    from streamnet.cli.letters import show_letter

    if action == "list":
        list_letters(folder)
    elif action == "show":
        show_letter(folder, number)
    else:
        replay_letters(folder, to)
    return 0
