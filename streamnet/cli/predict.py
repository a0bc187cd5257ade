"""``streamnet predict``: predictions of a saved model for new samples."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from streamnet.cli.options import OUTPUT, Files, ReadingOptions


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
            help="Where to write predictions, .csv or .jsonl; default CSV on standard output.",
        ),
    ] = None,
) -> int:
    """Predict every sample in files with a saved model; nothing is learned.

    The columns are source, position (the line, or the record where there are no lines), answer and
    probabilities. Malformed records are left out and counted, and make the exit code 1. Columns
    that the model does not know are ignored; the target is not needed.
    """
    import anyio

    from streamnet.cli.terminal import log_to_stderr, write_error
    from streamnet.durability.files import OutputPath, check_output_paths
    from streamnet.modelfiles import Model
    from streamnet.runs.inference import write_predictions

    if output is not None:
        inputs = {str(model): "the model", **dict.fromkeys(files, "a file to predict")}
        check_output_paths([OutputPath("output", output, (".csv", ".jsonl"))], inputs)
    options = reading.to_kwargs() if reading else {}
    with log_to_stderr():
        rejected = anyio.run(
            write_predictions, Model.load(model), files, output or sys.stdout, options
        )
    if rejected.note:
        write_error(rejected.note)
    return 1 if rejected.note else 0
