"""``streamnet predict``: what a saved model says of new samples."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from streamnet.cli.options import Delimiter
from streamnet.cli.options import Files
from streamnet.cli.options import Format
from streamnet.cli.options import Header

__all__ = ("predict",)


def predict(
    model: Annotated[Path, Parameter(help="A model file, .safetensors or .json.")],
    *files: Files,
    output: Annotated[
        Path | None, Parameter(help="Where to write, .csv or .jsonl; default: CSV to the screen.")
    ] = None,
    format: Format = None,
    delimiter: Delimiter = None,
    header: Header = None,
) -> int:
    """Answer every sample of some files with a saved model; nothing is learned.

    Rows are: file, line (or record), answer, share of each label. Samples that can't be read are
    left out, counted, and make the exit code 1.
    """
    import anyio

    from streamnet.cli.answering import write_answers
    from streamnet.modelfiles import Model

    options = {"format": format, "delimiter": delimiter, "header": header}
    warning = anyio.run(write_answers, Model.load(model), files, output, options)
    if warning:
        print(f"streamnet: {warning}", file=sys.stderr)
    return 1 if warning else 0
