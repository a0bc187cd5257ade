"""``streamnet status``, ``rollback`` and ``verify``: looking after a state directory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from streamnet.cli.parameters import count

__all__ = ("rollback", "status", "verify")

Folder = Annotated[Path, Parameter(name="DIR", help="A state directory.")]
DIFFERENT = 1


def status(folder: Folder, /) -> int:
    """Show what a state directory holds: where its run stands, generations, models, limits."""
    from streamnet.cli.standing import show_standing

    show_standing(folder)
    return 0


def rollback(
    folder: Folder,
    generation: Annotated[int, count("Its number; see status.", metavar="GENERATION")],
    /,
) -> int:
    """Let the next run go on from an earlier generation, under a new lineage."""
    from streamnet.cli.terminal import Terminal
    from streamnet.pipeline.rollback import roll_back

    number = roll_back(folder, generation)
    Terminal().say(f"generation {generation} was written again as {number}: a run goes on from it")
    return 0


def verify(
    folder: Folder,
    generation: Annotated[
        int | None,
        count("Its number; the newest if it is left out.", metavar="GENERATION"),
    ] = None,
    /,
) -> int:
    """Learn the same files again, up to a generation, and compare every bit with it."""
    import anyio

    from streamnet.cli.figures import plural
    from streamnet.cli.terminal import Terminal
    from streamnet.cli.terminal import complain
    from streamnet.cli.terminal import printable
    from streamnet.verifying import verify as verify_state

    found = anyio.run(verify_state, folder, generation)
    what = f"generation {found.generation}, after {plural(found.samples, 'sample')}"
    if not found.differences:
        Terminal().say(f"{what}: the same to the bit")
        return 0
    names = ", ".join(found.differences[:5])
    told = f"{what}, differs in {plural(len(found.differences), 'value')}: {printable(names)}"
    if found.versions:
        others = "; ".join(found.versions)
        told += f" (bits may differ for other versions than it was learned with: {others})"
    complain(told)
    return DIFFERENT
