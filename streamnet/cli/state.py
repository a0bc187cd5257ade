"""Commands on a state directory: ``status``, ``rollback``, ``verify`` and ``dead-letters``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from streamnet.cli.options import integer_option

Folder = Annotated[str, Parameter(name="DIR", help="State directory, or its URL in a bucket.")]
_DIFFERENT_EXIT_CODE = 1
_MAX_NAMES = 5  # of values that differ


def status(folder: Folder, /) -> int:
    """Show the status of a state directory: position, generations, model and limits."""
    from streamnet.cli.views.state import show_state
    from streamnet.durability.bucket import open_state

    with open_state(folder) as path:
        show_state(path, folder)
    return 0


def rollback(
    folder: Folder,
    generation: Annotated[
        int, integer_option("Number of the generation; see status.", metavar="GENERATION")
    ],
    /,
) -> int:
    """Make the next run resume from an earlier generation, under a new lineage."""
    from streamnet.cli.terminal import Terminal
    from streamnet.durability.bucket import BucketFiles
    from streamnet.objects import is_url
    from streamnet.pipeline.maintenance import roll_back

    if is_url(folder):
        files = BucketFiles(folder)
        files.pull()
        number = roll_back(files.copy, generation, files=files)
    else:
        number = roll_back(Path(folder), generation)
    Terminal().say(
        f"generation {generation} was copied to generation {number}; the next run resumes there"
    )
    return 0


def verify(
    folder: Folder,
    generation: Annotated[
        int | None,
        integer_option("Number of the generation; default the newest.", metavar="GENERATION"),
    ] = None,
    /,
) -> int:
    """Learn the same files again, up to a generation, and compare every bit of the state."""
    import anyio

    from streamnet.cli.terminal import Terminal, escape_text, write_error
    from streamnet.cli.views.tables import format_count
    from streamnet.durability.bucket import open_state
    from streamnet.runs.replay import verify as verify_state

    with open_state(folder) as path:
        result = anyio.run(verify_state, path, generation)
    what = f"generation {result.generation}, after {format_count(result.samples, 'sample')}"
    if not result.differences:
        Terminal().say(f"{what}: bit-identical")
        return 0
    names = escape_text(", ".join(result.differences[:_MAX_NAMES]))
    message = f"{what}, differs in {format_count(len(result.differences), 'value')}: {names}"
    if result.versions:
        versions = "; ".join(result.versions)
        message += f" (versions differ from those that learned it, so bits may, too: {versions})"
    write_error(message)
    return _DIFFERENT_EXIT_CODE


def dead_letters(
    action: Annotated[
        Literal["list", "show", "replay"],
        Parameter(
            help="list: one line for each record. show: everything about one record. replay: write "
            "the records to a file as they were, to be corrected and learned like any other file."
        ),
    ],
    folder: Folder,
    number: Annotated[
        int | None, integer_option("The record to show, from 1.", metavar="NUMBER")
    ] = None,
    /,
    *,
    to: Annotated[
        Path | None, Parameter(metavar="FILE", help="File that replay writes; it must not exist.")
    ] = None,
) -> int:
    """List or show rejected records, or write them to a file so that they can be learned."""
    from streamnet.cli.views.state import list_dead_letters, show_dead_letter, write_dead_letters
    from streamnet.durability.bucket import open_state

    with open_state(folder) as path:
        if action == "list":
            list_dead_letters(path)
        elif action == "show":
            show_dead_letter(path, number)
        else:
            write_dead_letters(path, to)
    return 0
