"""``streamnet replay``: learn data files as if they were a stream."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated
from typing import Any
from typing import Literal

from cyclopts import Group
from cyclopts import Parameter

from streamnet.cli.options import Delimiter
from streamnet.cli.options import Drop
from streamnet.cli.options import Files
from streamnet.cli.options import Format
from streamnet.cli.options import Header
from streamnet.cli.options import Kinds
from streamnet.cli.options import Missing
from streamnet.cli.options import listed

__all__ = ("replay",)

DATA = Group("Data", sort_key=1)
SEARCH = Group("Population", sort_key=2)
RUN = Group("Run", sort_key=3)
OUTPUT = Group("Output", sort_key=4)


def _several(group: Group, text: str) -> Parameter:
    return Parameter(converter=listed, n_tokens=1, negative="", group=group, help=text)


def replay(
    *files: Files,
    target: Annotated[str | None, Parameter(group=DATA, help="Column to predict.")] = None,
    task: Annotated[
        Literal["auto", "classification", "regression"],
        Parameter(group=DATA, help="What is predicted; auto looks at the target's values."),
    ] = "auto",
    drop: Annotated[Drop, Parameter(group=DATA)] = None,
    kinds: Annotated[Kinds, Parameter(group=DATA)] = None,
    format: Annotated[Format, Parameter(group=DATA)] = None,
    delimiter: Annotated[Delimiter, Parameter(group=DATA)] = None,
    header: Annotated[Header, Parameter(group=DATA)] = None,
    missing: Annotated[Missing, Parameter(group=DATA)] = None,
    epochs: Annotated[
        int | None,
        Parameter(group=DATA, help="Passes over the files; only the first one is scored."),
    ] = None,
    shuffle_buffer: Annotated[
        int | None, Parameter(group=DATA, help="Samples that are mixed at a time.")
    ] = None,
    limit: Annotated[int | None, Parameter(group=DATA, help="Most samples to learn.")] = None,
    max_rejected: Annotated[
        float | None,
        Parameter(group=DATA, help="Share of the last 1,000 records that may be rejected."),
    ] = None,
    candidates: Annotated[
        int | None, Parameter(group=SEARCH, help="How many networks learn at once.")
    ] = None,
    hidden: Annotated[
        tuple[str, ...] | None, _several(SEARCH, "Hidden layers to try: 20,64-32,linear.")
    ] = None,
    activation: Annotated[
        tuple[str, ...] | None, _several(SEARCH, "Activations to try: tanh,relu,logistic,identity.")
    ] = None,
    optimiser: Annotated[
        tuple[str, ...] | None,
        _several(SEARCH, "Optimisers to try: sgd,momentum,rmsprop,adagrad,adam."),
    ] = None,
    learning_rate: Annotated[
        tuple[float, ...] | None, _several(SEARCH, "Learning rates to try: 0.1,0.01.")
    ] = None,
    rehearsal: Annotated[
        tuple[int, ...] | None, _several(SEARCH, "Earlier samples to learn again: 0,4.")
    ] = None,
    dtype: Annotated[
        Literal["float32", "float64"] | None, Parameter(group=SEARCH, help="Of the networks.")
    ] = None,
    config: Annotated[Path | None, Parameter(group=RUN, help="Run file; options go first.")] = None,
    seed: Annotated[int | None, Parameter(group=RUN, help="Key of all random numbers.")] = None,
    block_size: Annotated[
        int | None, Parameter(group=RUN, help="Most samples that travel together.")
    ] = None,
    threads: Annotated[
        int | None, Parameter(group=RUN, help="Most threads that learn at once.")
    ] = None,
    model: Annotated[
        str | None, Parameter(group=OUTPUT, help="Write the champion: .safetensors or .json.")
    ] = None,
    predictions: Annotated[
        str | None, Parameter(group=OUTPUT, help="Write every served answer: .csv or .jsonl.")
    ] = None,
    report: Annotated[
        str | None, Parameter(group=OUTPUT, help="Write all scores and settings: .json.")
    ] = None,
    dead_letters: Annotated[
        str | None,
        Parameter(group=OUTPUT, help="Where rejected records go (default rejected.jsonl)."),
    ] = None,
    quiet: Annotated[
        bool, Parameter(group=OUTPUT, negative="", help="Print only errors.")
    ] = False,
) -> int:
    """Learn data files as a stream: every sample is predicted, scored, and only then learned.

    A population of networks learns at once; the best one of each moment answers. At the end it is
    yours to keep (--model).
    """
    from streamnet.cli.watch import watch
    from streamnet.replaying import Replay
    from streamnet.settings import RunSettings
    from streamnet.settings import load
    from streamnet.settings import merged

    given: dict[str, Any] = {
        "source.files": files or None,
        "source.target": target,
        "source.task": None if task == "auto" else task,
        "source.drop": drop,
        "source.kinds": kinds,
        "source.format": format,
        "source.delimiter": delimiter,
        "source.header": header,
        "source.missing": missing,
        "source.epochs": epochs,
        "source.shuffle_buffer": shuffle_buffer,
        "source.limit": limit,
        "source.max_rejected": max_rejected,
        "population.candidates": candidates,
        "population.hidden": hidden,
        "population.activation": activation,
        "population.optimiser": optimiser,
        "population.learning_rate": learning_rate,
        "population.rehearsal": rehearsal,
        "population.dtype": dtype,
        "run.seed": seed,
        "run.block_size": block_size,
        "run.threads": threads,
        "output.model": model,
        "output.predictions": predictions,
        "output.report": report,
        "output.dead_letters": dead_letters,
    }
    settings = merged(load(config) if config else RunSettings(), given)
    return watch(Replay(settings), quiet=quiet, out=sys.stdout)
