"""``streamnet evaluate``: score a saved model on labeled files."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from streamnet.cli.options import DATA, OUTPUT, Files, ReadingOptions


def evaluate(
    model: Annotated[Path, Parameter(help="A model file, .safetensors or .json.")],
    /,
    *files: Files,
    target: Annotated[
        str | None,
        Parameter(
            group=DATA,
            metavar="COLUMN",
            help="Column with the true values; default the model's target.",
        ),
    ] = None,
    reading: ReadingOptions | None = None,
    report: Annotated[
        Path | None, Parameter(group=OUTPUT, metavar="FILE", help="Write all metrics: .json.")
    ] = None,
    all_measures: Annotated[
        bool,
        Parameter(
            group=OUTPUT,
            negative=(),
            show_default=False,
            help="Add ROC-AUC, calibration error and others; keeps all predictions in memory.",
        ),
    ] = False,
    per_class: Annotated[
        bool,
        Parameter(
            group=OUTPUT, negative=(), show_default=False, help="Show each class against the rest."
        ),
    ] = False,
    confusion: Annotated[
        bool,
        Parameter(
            group=OUTPUT,
            negative=(),
            show_default=False,
            help="Show the confusion matrix, however wide.",
        ),
    ] = False,
    threshold: Annotated[
        float | None,
        Parameter(
            group=OUTPUT,
            metavar="NUMBER",
            help="For regression: predictions closer than this to the true value are correct.",
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        Parameter(
            group=OUTPUT,
            metavar="FILE",
            help="Plot the confusion matrix, or the residuals of a regression: .png or .svg.",
        ),
    ] = None,
) -> int:
    """Score a saved model on labeled files; nothing is learned.

    Baselines are scored on the same samples: the majority label (for regression: the mean so far),
    and the true value of the previous sample (no-change). For log-loss, probabilities are clipped
    at 0.0001. Malformed records are left out and counted, and make the exit code 1.
    """
    import anyio

    from streamnet.cli.terminal import log_to_stderr, write_error
    from streamnet.cli.views.report import DisplayOptions, show_evaluation
    from streamnet.durability.files import OutputPath, check_output_paths
    from streamnet.modelfiles import Model
    from streamnet.plots import SUFFIXES, check_matplotlib
    from streamnet.runs.inference import evaluate_files

    outputs = [
        OutputPath(name, path, suffixes)
        for name, path, suffixes in (("report", report, (".json",)), ("plot", plot, SUFFIXES))
        if path is not None
    ]
    check_output_paths(
        outputs, {str(model): "the model", **dict.fromkeys(files, "a file to evaluate")}
    )
    if plot is not None:
        check_matplotlib()
    display = DisplayOptions(report, plot, per_class=per_class, confusion=confusion)
    with log_to_stderr():
        loaded = Model.load(model)
        display.check(loaded.task)
        evaluate_loaded = partial(
            evaluate_files,
            loaded,
            files,
            reading.to_kwargs() if reading else {},
            target=target,
            threshold=threshold,
            all_metrics=all_measures,
            keep_pairs=plot is not None,
        )
        result = anyio.run(evaluate_loaded)
    show_evaluation(result, display)
    for message in (result.warning, result.rejected.note):
        if message:
            write_error(message)
    return 1 if result.rejected.note else 0
