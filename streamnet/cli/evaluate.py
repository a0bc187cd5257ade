"""``streamnet evaluate``: score a saved model on labeled files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from streamnet.cli.options import DATA, OUTPUT, Files, ReadingOptions

__all__ = ("evaluate",)


def evaluate(
    model: Annotated[Path, Parameter(help="A model file, .safetensors or .json.")],
    /,
    *files: Files,
    target: Annotated[
        str | None,
        Parameter(group=DATA, metavar="COLUMN", help="The truth; otherwise as in its training."),
    ] = None,
    reading: ReadingOptions | None = None,
    report: Annotated[
        Path | None, Parameter(group=OUTPUT, metavar="FILE", help="Write the measures: .json.")
    ] = None,
    all_measures: Annotated[
        bool,
        Parameter(
            group=OUTPUT,
            negative=(),
            show_default=False,
            help="Also ROC-AUC, calibration error and more, for which all answers are kept.",
        ),
    ] = False,
    per_class: Annotated[
        bool,
        Parameter(
            group=OUTPUT,
            negative=(),
            show_default=False,
            help="Show each class against all others.",
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
            help="Of numbers: count answers nearer to the truth than this as correct.",
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        Parameter(
            group=OUTPUT,
            metavar="FILE",
            help="Draw the confusion matrix, or of numbers the errors: .png or .svg.",
        ),
    ] = None,
) -> int:
    """Score a saved model on labelled files; nothing is learned.

    Beside its measures stand those of always naming the majority (for numbers: the mean so far),
    and of repeating the truth of the sample before (no-change). For log-loss a share of the truth
    below 0.0001 counts as 0.0001. Samples that can't be read are left
    out and counted, and make the exit code 1.
    """
    import anyio

    from streamnet.cli.terminal import log_to_stderr, write_error
    from streamnet.cli.views.evaluation import DisplayOptions, evaluate_files, show_evaluation
    from streamnet.durability.files import OutputPath, check_output_paths
    from streamnet.modelfiles import Model
    from streamnet.plots import SUFFIXES, check_matplotlib

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
    shown = DisplayOptions(per_class, confusion, plot, threshold, all_measures)
    options = reading.given() if reading else {}
    with log_to_stderr():
        grades = anyio.run(evaluate_files, Model.load(model), files, target, options, shown)
    show_evaluation(grades, report, shown)
    for sentence in (grades.warning, grades.note):
        if sentence:
            write_error(sentence)
    return 1 if grades.note else 0
