"""``streamnet evaluate``: how good a saved model is on labelled files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from streamnet.cli.options import Delimiter
from streamnet.cli.options import Files
from streamnet.cli.options import Format
from streamnet.cli.options import Header

__all__ = ("evaluate",)


def evaluate(
    model: Annotated[Path, Parameter(help="A model file, .safetensors or .json.")],
    *files: Files,
    target: Annotated[
        str | None, Parameter(help="Column with the truth; default: the one it learned.")
    ] = None,
    report: Annotated[Path | None, Parameter(help="Write the measures: .json.")] = None,
    format: Format = None,
    delimiter: Delimiter = None,
    header: Header = None,
) -> int:
    """Score a saved model on labelled files; nothing is learned.

    Beside its measures stand those of the majority and no-change (for numbers: mean and no-change).
    """
    import anyio

    from streamnet.cli.grading import grade
    from streamnet.cli.grading import show
    from streamnet.modelfiles import Model

    options = {"format": format, "delimiter": delimiter, "header": header}
    loaded = Model.load(model)
    grades = anyio.run(grade, loaded, files, target, options)
    show(grades, report)
    if grades.note:
        print(f"streamnet: {grades.note}", file=sys.stderr)
    return 0
