"""``streamnet evaluate``: how good a saved model is on labelled files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from streamnet.cli.options import DATA
from streamnet.cli.options import OUTPUT
from streamnet.cli.options import Files
from streamnet.cli.options import ReadingOptions

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

    from streamnet.cli.grading import Shown
    from streamnet.cli.grading import grade
    from streamnet.cli.grading import show
    from streamnet.cli.notices import notices
    from streamnet.cli.terminal import complain
    from streamnet.modelfiles import Model
    from streamnet.outputs import Output
    from streamnet.outputs import check_outputs
    from streamnet.plots import SUFFIXES
    from streamnet.plots import check_matplotlib

    outputs = [
        Output(name, path, suffixes)
        for name, path, suffixes in (("report", report, (".json",)), ("plot", plot, SUFFIXES))
        if path is not None
    ]
    check_outputs(outputs, {str(model): "the model", **dict.fromkeys(files, "a file to evaluate")})
    if plot is not None:
        check_matplotlib()
    shown = Shown(per_class, confusion, plot, threshold, all_measures)
    options = reading.given() if reading else {}
    with notices():
        grades = anyio.run(grade, Model.load(model), files, target, options, shown)
    show(grades, report, shown)
    for sentence in (grades.warning, grades.note):
        if sentence:
            complain(sentence)
    return 1 if grades.note else 0
