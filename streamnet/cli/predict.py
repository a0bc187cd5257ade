"""``streamnet predict``: predictions of a saved model for new samples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from streamnet.cli.options import OUTPUT, Files, ReadingOptions

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

    from streamnet.cli.terminal import log_to_stderr, write_error
    from streamnet.cli.views.predictions import write_predictions
    from streamnet.durability.files import OutputPath, check_output_paths
    from streamnet.modelfiles import Model

    if output is not None:
        inputs = {str(model): "the model", **dict.fromkeys(files, "a file to predict")}
        check_output_paths([OutputPath("output", output, (".csv", ".jsonl"))], inputs)
    options = reading.given() if reading else {}
    with log_to_stderr():
        note = anyio.run(write_predictions, Model.load(model), files, output, options)
    if note:
        write_error(note)
    return 1 if note else 0
