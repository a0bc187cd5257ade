"""``streamnet status``, ``rollback`` and ``verify``: maintenance of a state directory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from streamnet.cli.options import integer_option

__all__ = ("rollback", "status", "verify")

Folder = Annotated[Path, Parameter(name="DIR", help="A state directory.")]
DIFFERENT_EXIT_CODE = 1


def status(folder: Folder, /) -> int:
    """Show what a state directory holds: where its run stands, generations, models, limits."""
    from streamnet.cli.views.state import show_state

    show_state(folder)
    return 0


def rollback(
    folder: Folder,
    generation: Annotated[int, integer_option("Its number; see status.", metavar="GENERATION")],
    /,
) -> int:
    """Let the next run go on from an earlier generation, under a new lineage."""
    from streamnet.cli.terminal import Terminal
    from streamnet.pipeline.maintenance import roll_back

    number = roll_back(folder, generation)
    Terminal().say(f"generation {generation} was written again as {number}: a run goes on from it")
    return 0


def verify(
    folder: Folder,
    generation: Annotated[
        int | None,
        integer_option("Its number; the newest if it is left out.", metavar="GENERATION"),
    ] = None,
    /,
) -> int:
    """Learn the same files again, up to a generation, and compare every bit with it."""
    import anyio

    from streamnet.cli.terminal import Terminal, escape_text, write_error
    from streamnet.cli.views.tables import format_count
    from streamnet.runs.verification import verify as verify_state

    found = anyio.run(verify_state, folder, generation)
    what = f"generation {found.generation}, after {format_count(found.samples, 'sample')}"
    if not found.differences:
        Terminal().say(f"{what}: the same to the bit")
        return 0
    names = ", ".join(found.differences[:5])
    told = (
        f"{what}, differs in {format_count(len(found.differences), 'value')}: {escape_text(names)}"
    )
    if found.versions:
        others = "; ".join(found.versions)
        told += f" (bits may differ for other versions than it was learned with: {others})"
    write_error(told)
    return DIFFERENT_EXIT_CODE
