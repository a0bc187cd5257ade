"""``streamnet predict``: what a saved model says of new samples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from streamnet.cli.options import OUTPUT
from streamnet.cli.options import Files
from streamnet.cli.options import ReadingOptions

__all__ = ("predict",)


def predict(
    model: Annotated[Path, Parameter(help="A model file, .safetensors or .json.")],
    /,
    *files: Files,
    reading: ReadingOptions | None = None,
    output: Annotated[
        Path | None,
        Parameter(
            group=OUTPUT,
            metavar="FILE",
            help="Where to write, .csv or .jsonl; otherwise CSV goes to standard output.",
        ),
    ] = None,
) -> int:
    """Answer every sample of some files with a saved model; nothing is learned.

    A row is: source, position (line, or record where there are no lines), answer, probabilities.
    Samples that can't be read are left out and counted, and make the exit code 1. Columns that the
    model does not know are left out; the target need not be there.
    """
    import anyio

    from streamnet.cli.answering import write_answers
    from streamnet.cli.notices import notices
    from streamnet.cli.terminal import complain
    from streamnet.modelfiles import Model
    from streamnet.outputs import Output
    from streamnet.outputs import check_outputs

    if output is not None:
        inputs = {str(model): "the model", **dict.fromkeys(files, "a file to predict")}
        check_outputs([Output("output", output, (".csv", ".jsonl"))], inputs)
    options = reading.given() if reading else {}
    with notices():
        note = anyio.run(write_answers, Model.load(model), files, output, options)
    if note:
        complain(note)
    return 1 if note else 0
