"""Commands on model files: ``inspect``, and ``export`` and ``import`` for gopher-neural."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from streamnet.cli.options import OUTPUT


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
    model: Annotated[Path, Parameter(help="A model file, .safetensors or .json.")],
    /,
    *,
    to: Annotated[Path, Parameter(group=OUTPUT, metavar="FILE", help="The file to write, .json.")],
) -> int:
    """Write a model as a JSON file for gopher-neural and go-neural.

    There its predictions are the same to the last digit but one. Models that gopher-neural can't
    represent are refused with the reasons: several networks, biases, activations other than
    logistic, scaled inputs, categories. To learn a model that can be exported, start from an
    imported one, or see population.candidate and encoder.scaling in a run file.
    """
    from streamnet.durability.files import OutputPath, check_output_paths
    from streamnet.modelfiles import Model
    from streamnet.modelfiles.formats import FORMATS

    check_output_paths(
        [OutputPath("to", to, (FORMATS["gopher"].suffix,), replaced=True)],
        {str(model): "the model"},
    )
    Model.load(model).export(to)
    return 0


def import_model(
    file: Annotated[
        Path, Parameter(help="A file written by gopher-neural, go-neural or gopher-learn.")
    ],
    /,
    *,
    model: Annotated[
        Path,
        Parameter(group=OUTPUT, metavar="FILE", help="The model to write, .safetensors or .json."),
    ],
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
