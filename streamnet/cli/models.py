"""``streamnet predict``, ``evaluate``, ``inspect``, ``export`` and ``import``: use model files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from streamnet.cli.options import (
    DATA,
    OUTPUT,
    Files,
    InferenceOptions,
    ModelFile,
    ReadingOptions,
    flag,
    output_option,
)


def inspect(
    file: Annotated[
        Path, Parameter(help="A model file, or a report of replay, train or evaluate.")
    ],
    /,
) -> int:
    """Show the content of a model file or a report."""
    from streamnet.cli.views.report import show_file

    show_file(file)
    return 0


def export_model(
    model: ModelFile,
    /,
    *,
    to: Annotated[
        str,
        Parameter(
            group=OUTPUT,
            metavar="FORMAT",
            help="onnx, for onnxruntime and others; c, a C99 file without dependencies, for "
            "devices; or gopher, the JSON of gopher-neural and go-neural.",
        ),
    ],
    output: Annotated[
        Path | None,
        output_option("The file to write; default the model's name with the format's suffix."),
    ] = None,
) -> int:
    """Write a model as ONNX, as a C file, or as a JSON file of gopher-neural.

    ONNX and C contain the whole model, encoder and ensemble included, and predict the same. What
    they can't contain is refused with the reasons: texts, auto-encoders, networks that need the
    last targets. gopher-neural has no ensembles, biases, activations other than logistic, scaled
    inputs, and categories: start from an imported model, or see population.candidate and
    encoder.scaling in a run file.
    """
    from streamnet.durability.files import OutputPath, check_output_paths
    from streamnet.errors import ConfigurationError
    from streamnet.modelfiles import Model
    from streamnet.modelfiles.formats import list_foreign

    formats = list_foreign()
    if to not in formats:
        raise ConfigurationError(f"--to is {to!r}, but must be one of {', '.join(formats)}")
    suffix = formats[to].suffix
    file = Path(Path(str(model)).with_suffix(suffix).name) if output is None else output
    check_output_paths(
        [OutputPath("output", file, (suffix,), replaced=True)], {str(model): "the model"}
    )
    Model.load(model).export(file, to)
    return 0


def import_model(
    file: Annotated[
        Path, Parameter(help="A file written by gopher-neural, go-neural or gopher-learn.")
    ],
    /,
    *,
    model: Annotated[Path, output_option("The model to write, .safetensors or .json.")],
    names: Annotated[
        str | None,
        Parameter(metavar="A,B,C", help="Names of its inputs; default f0, f1, and so on."),
    ] = None,
    learning_rate: Annotated[
        float, Parameter(metavar="RATE", help="Learning rate when the network continues to learn.")
    ] = 0.05,
) -> int:
    """Convert a network of gopher-neural to a model that can predict and continue to learn.

    Inputs are not scaled, and the network learns as it did there: one step of gradient descent per
    sample, in float64. See: streamnet replay --start MODEL
    """
    from streamnet.durability.files import OutputPath, check_output_paths
    from streamnet.modelfiles import Model
    from streamnet.modelfiles.formats import SUFFIXES

    check_output_paths(
        [OutputPath("model", model, tuple(SUFFIXES), replaced=True)],
        {str(file): "the file to import"},
    )
    inputs = None if names is None else [name.strip() for name in names.split(",")]
    Model.from_gopher(file, names=inputs, learning_rate=learning_rate).save(model)
    return 0


def evaluate(
    model: ModelFile,
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
    weight: Annotated[
        str | None,
        Parameter(
            group=DATA,
            metavar="COLUMN",
            help="Column with the weights by which samples count; 0 leaves one out.",
        ),
    ] = None,
    reading: ReadingOptions | None = None,
    inference: InferenceOptions | None = None,
    report: Annotated[Path | None, output_option("Write all metrics: .json.")] = None,
    all_measures: Annotated[
        bool, flag("Add ROC-AUC, calibration error and others; keeps all predictions in memory.")
    ] = False,
    per_class: Annotated[bool, flag("Show each class against the rest.")] = False,
    confusion: Annotated[bool, flag("Show the confusion matrix, however wide.")] = False,
    threshold: Annotated[
        float | None,
        output_option(
            "For regression: predictions closer than this to the true value are correct.", "NUMBER"
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        output_option("Plot the confusion matrix, or the residuals of a regression: .png or .svg."),
    ] = None,
) -> int:
    """Score a saved model on labeled files; nothing is learned.

    Baselines are scored on the same samples: the majority label (for regression: the mean so far),
    and the true value of the previous sample (no-change). For log-loss, probabilities are clipped
    at 0.0001. Malformed records are left out and counted, and make the exit code 1.
    """
    import anyio

    from streamnet.cli.terminal import log_to_stderr, write_error
    from streamnet.cli.views.report import show_evaluation
    from streamnet.durability.files import OutputPath, check_output_paths
    from streamnet.errors import ConfigurationError
    from streamnet.modelfiles import Model
    from streamnet.plots import SUFFIXES
    from streamnet.runs.inference import evaluate_files
    from streamnet.samples import Task
    from streamnet.validation import check_extra

    outputs = [
        OutputPath(name, path, suffixes)
        for name, path, suffixes in (("report", report, (".json",)), ("plot", plot, SUFFIXES))
        if path is not None
    ]
    check_output_paths(
        outputs, {str(model): "the model", **dict.fromkeys(files, "a file to evaluate")}
    )
    if plot is not None:
        check_extra("report", "matplotlib")
    with log_to_stderr():
        loaded = Model.load(model)
        for name, given in (("per_class", per_class), ("confusion", confusion)):
            if given and loaded.task is Task.REGRESSION:
                raise ConfigurationError(f"{name} is given, but the model predicts numbers")
        options = {
            name: value for o in (reading, inference) if o for name, value in o.to_kwargs().items()
        }
        result = anyio.run(
            lambda: evaluate_files(
                loaded,
                files,
                options,
                target=target,
                weight=weight,
                threshold=threshold,
                all_metrics=all_measures,
                keep_pairs=plot is not None,
            )
        )
    show_evaluation(result, report, plot, per_class=per_class, confusion=confusion)
    for message in (result.warning, result.rejected.note):
        if message:
            write_error(message)
    return 1 if result.rejected.note else 0


def predict(
    model: ModelFile,
    /,
    *files: Files,
    reading: ReadingOptions | None = None,
    inference: InferenceOptions | None = None,
    output: Annotated[
        Path | None,
        output_option(
            "Where to write predictions, .csv or .jsonl; default CSV on standard output."
        ),
    ] = None,
    id: Annotated[
        str | None,
        Parameter(group=DATA, metavar="COLUMN", help="Column with ids, which predictions have."),
    ] = None,
    last_targets: Annotated[
        str | None,
        Parameter(
            group=DATA,
            metavar="A,B,C",
            help="Last known targets before the samples, the latest last.",
        ),
    ] = None,
) -> int:
    """Predict every sample in files with a saved model; nothing is learned.

    The columns are source, position (the line, or the record where there are no lines), answer and
    probabilities, and with --id the id. Malformed records are left out and counted, and make the
    exit code 1. The target is not needed. A model that needs the last targets, see streamnet
    inspect, predicts with a network that does not if they are not given.
    """
    import anyio

    from streamnet.cli.terminal import log_to_stderr, write_error
    from streamnet.durability.files import OutputPath, check_output_paths
    from streamnet.modelfiles import Model
    from streamnet.runs.inference import write_predictions

    if output is not None:
        inputs = {str(model): "the model", **dict.fromkeys(files, "a file to predict")}
        check_output_paths([OutputPath("output", output, (".csv", ".jsonl"))], inputs)
    options = {
        name: value for o in (reading, inference) if o for name, value in o.to_kwargs().items()
    }
    last = None if last_targets is None else [one.strip() for one in last_targets.split(",")]
    with log_to_stderr():
        given = Model.load(model), files, output or sys.stdout, options, last, id
        rejected = anyio.run(write_predictions, *given)
    if rejected.note:
        write_error(rejected.note)
    return 1 if rejected.note else 0
