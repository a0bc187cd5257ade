"""Draws replay.svg, beside this file: the live view in the middle of an actual replay.

python examples/pictures/draw.py
"""

from __future__ import annotations

import contextlib
import gzip
import io
import re
import sys
import tempfile
from pathlib import Path

import anyio
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import MONOKAI

from streamnet.cli.views.run import LiveView, headline
from streamnet.runs.replay import Replay
from streamnet.settings.run import RunSettings, apply_overrides

DATA = Path(__file__).parent.parent / "data" / "adult.csv.gz"
COMMAND = "$ streamnet replay adult.csv --target income"
SAMPLES = 14_000  # of 32,561 that have been learned in the picture


async def draw(run: Replay, console: Console) -> None:
    """Print the live view once so many samples have been learned."""
    console.print(COMMAND, style="bold")
    console.print(headline(run))
    async with anyio.create_task_group() as group:
        group.start_soon(run.run)
        await run.pipeline.ready.wait()
        while run.pipeline.statistics().samples < SAMPLES:  # noqa: ASYNC110 - as the view does
            await anyio.sleep(0.01)
        console.print(LiveView(run.pipeline))


def main(folder: Path) -> None:
    """Write the picture into a folder."""
    settings = apply_overrides(
        RunSettings(), {"source.files": ["adult.csv"], "source.target": "income"}
    )
    console = Console(
        record=True,
        width=92,
        height=30,
        file=io.StringIO(),
        force_terminal=True,
        highlight=False,
        markup=False,
    )
    with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
        Path("adult.csv").write_bytes(gzip.decompress(DATA.read_bytes()))
        anyio.run(draw, Replay(settings), console)
    # No font from the network: the reader's own monospaced one will do.
    template = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    svg = console.export_svg(title="streamnet", theme=MONOKAI, code_format=template)
    svg = "\n".join(line.rstrip() for line in svg.splitlines())
    (folder / "replay.svg").write_text(svg + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
