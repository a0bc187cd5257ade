"""``streamnet export`` and ``streamnet import``: models to and from gopher-neural."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from streamnet.cli.options import OUTPUT

__all__ = ("export_model", "import_model")


def export_model(
    model: Annotated[Path, Parameter(help="A model file, .safetensors or .json.")],
    /,
    *,
    to: Annotated[Path, Parameter(group=OUTPUT, metavar="FILE", help="The file to write, .json.")],
) -> int:
    """Write a model as the JSON file that gopher-neural and go-neural read.

    It answers the same there to the last digit but one. What they have no way to calculate is
    refused with the reasons: several networks, biases, other activations than logistic, scaled
    inputs, categories. To learn a model that can be exported, start from one that was imported, or
    see population.candidate and encoder.scaling in a run file.
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
        Path, Parameter(help="A file that gopher-neural, go-neural or gopher-learn wrote.")
    ],
    /,
    *,
    model: Annotated[
        Path,
        Parameter(group=OUTPUT, metavar="FILE", help="The model to write, .safetensors or .json."),
    ],
    names: Annotated[
        str | None,
        Parameter(metavar="A,B,C", help="What its inputs are called; else f0, f1, and so on."),
    ] = None,
    learning_rate: Annotated[
        float,
        Parameter(metavar="RATE", help="Step size with which the network will go on learning."),
    ] = 0.05,
) -> int:
    """Turn a network of gopher-neural into a model: predict with it, or go on learning.

    Inputs are taken as they are, and the network learns as it did there: one step of gradient
    descent a sample, in float64. See: streamnet replay --start MODEL
    """
    from streamnet.durability.files import OutputPath, check_output_paths
    from streamnet.modelfiles import Model
    from streamnet.modelfiles.formats import SUFFIXES

    check_output_paths(
        [OutputPath("model", model, tuple(SUFFIXES), replaced=True)],
        {str(file): "the file to import"},
    )
    called = None if names is None else [name.strip() for name in names.split(",")]
    Model.from_gopher(file, names=called, learning_rate=learning_rate).save(model)
    return 0
