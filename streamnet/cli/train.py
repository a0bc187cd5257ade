"""``streamnet train``: learn files in epochs, choose on one part, report another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Annotated
from typing import Any
from typing import Literal
from typing import final

from cyclopts import Group
from cyclopts import Parameter

from streamnet.cli.options import DATA
from streamnet.cli.options import OUTPUT
from streamnet.cli.options import Drop
from streamnet.cli.options import Files
from streamnet.cli.options import Kinds
from streamnet.cli.options import ReadingOptions
from streamnet.cli.parameters import count

if TYPE_CHECKING:
    from streamnet.samples import Kind

__all__ = ("EngineOptions", "train")

ENGINE = Group("Engine", sort_key=3)


def _option(metavar: str, text: str) -> Parameter:
    return Parameter(metavar=metavar, help=text)


@final
@Parameter(name="*", group=ENGINE)
@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """How an engine learns; None is the engine's default.

    >>> EngineOptions(tries=3).given()
    {'tries': 3}
    """

    criterion: Annotated[
        str | None,
        _option(
            "NAME",
            "By what the best is chosen: distance (the default), simple; for labels accuracy, "
            "balanced_accuracy, f1, kappa, log_loss (in which no share is less than 0.0001); for "
            "numbers mse, mae; or gopher-neural's formula, such as gopher.accuracy.",
        ),
    ] = None
    tries: Annotated[int | None, count("Restarts with other start weights; default 5.")] = None
    epochs: Annotated[int | None, count("Passes over the training part; default 60.")] = None
    training_split: Annotated[
        float | None,
        _option("SHARE", "Share of the samples to learn; half of the rest chooses; default 0.7."),
    ] = None
    learning_rate: Annotated[
        float | None, _option("RATE", "The largest learning rate to try; default 0.03.")
    ] = None
    decay: Annotated[
        float | None,
        _option("RATE", "From one rate to the next, while above 0; 0 tries one; default 0.01."),
    ] = None
    hidden: Annotated[str | None, _option("UNITS", "Hidden layers; default 64-32.")] = None
    activation: Annotated[
        str | None, _option("NAME", "relu (the default), tanh, logistic or identity.")
    ] = None
    optimiser: Annotated[
        str | None, _option("NAME", "sgd (the default), momentum, rmsprop, adagrad or adam.")
    ] = None
    regression_threshold: Annotated[
        float | None,
        _option("NUMBER", "Numbers closer than this to the truth are correct; default 0.05."),
    ] = None
    iterations: Annotated[
        int | None, count("Most samples that a network learns, over all epochs.")
    ] = None
    batch_size: Annotated[
        int | None, count("Samples whose mean gradient makes one step; default 1.")
    ] = None
    order: Annotated[
        Literal["random", "file"] | None,
        _option("ORDER", "Of the samples in an epoch: random (the default), or as in the file."),
    ] = None
    protocol: Annotated[
        Literal["holdout", "gopher"] | None,
        _option(
            "NAME",
            "holdout (the default): what is reported had no say in choosing; gopher: as "
            "gopher-neural does it, falling rates and one part for both, which flatters.",
        ),
    ] = None
    ensemble: Annotated[
        int | None,
        count("How many of the best answer together; default 10, or 1 with protocol gopher."),
    ] = None
    refit: Annotated[
        bool | None,
        _option(
            "",
            "Whether the best learn again, with the part that chose them too; default yes, but no "
            "with protocol gopher.",
        ),
    ] = None
    ordered: Annotated[
        bool | None,
        Parameter(
            negative="",
            show_default=False,
            help="Learn the earliest samples and hold out the latest, as suits a stream.",
        ),
    ] = None
    seed: Annotated[int | None, count("Key of all random numbers; default 0.")] = None
    threads: Annotated[int | None, count("Most threads that learn at once; default 2.")] = None

    def given(self) -> dict[str, Any]:
        """What was given, by name of the engine's setting."""
        from streamnet.learning.grid import hidden_of

        values = {name: value for name, value in vars(self).items() if value is not None}
        network = {n: values.pop(n) for n in ("activation", "optimiser") if n in values}
        if "hidden" in values:
            values["hidden"] = hidden_of(values["hidden"])
        return {**values, "network": network} if network else values


def train(
    *files: Files,
    target: Annotated[
        str | None,
        Parameter(group=DATA, metavar="COLUMN", help="Column to predict; default the last one."),
    ] = None,
    task: Annotated[
        Literal["auto", "classification", "regression"],
        Parameter(
            group=DATA, metavar="TASK", help="What is predicted; auto looks at the target's values."
        ),
    ] = "auto",
    drop: Drop = None,
    kinds: Kinds = None,
    reading: ReadingOptions | None = None,
    engine: EngineOptions | None = None,
    model: Annotated[
        Path | None,
        Parameter(group=OUTPUT, metavar="FILE", help="Write the model: .safetensors or .json."),
    ] = None,
    report: Annotated[
        Path | None, Parameter(group=OUTPUT, metavar="FILE", help="Write the report: .json.")
    ] = None,
    verbose: Annotated[
        bool,
        Parameter(group=OUTPUT, negative="", show_default=False, help="Tell each improvement."),
    ] = False,
    quiet: Annotated[
        bool, Parameter(group=OUTPUT, negative="", show_default=False, help="Print errors only.")
    ] = False,
) -> int:
    """Learn data files in epochs: many networks at once, the best of which are kept.

    The samples are dealt by class, or by quantile of numbers: one part is learned, one chooses, and
    the last one, which nobody has seen, tells how good the choice is. Ctrl-C ends learning; the
    best so far is still written.
    """
    from streamnet.cli.notices import notices
    from streamnet.cli.training import Training
    from streamnet.engine import Engine
    from streamnet.errors import ConfigurationError
    from streamnet.outputs import Output
    from streamnet.outputs import check_outputs

    if not files:
        raise ConfigurationError("no file is given, but there must be one to learn from")
    outputs = [("model", model, (".safetensors", ".json")), ("report", report, (".json",))]
    check_outputs(
        [Output(name, path, suffixes) for name, path, suffixes in outputs if path is not None],
        dict.fromkeys(files, "a file to learn from"),
    )
    shape = {
        n: value for n, value in (reading.given() if reading else {}).items() if value is not None
    }
    training = Training(verbose=verbose, quiet=quiet)
    learner = Engine(
        None if task == "auto" else task,
        heard=training.hear,
        **(engine.given() if engine else {}),
    )
    named = {"target": target, "drop": drop or (), "kinds": _kinds_of(kinds), **shape}
    with notices():
        return training.watch(learner, files, named, model=model, report=report)


def _kinds_of(named: tuple[tuple[str, str], ...] | None) -> dict[str, Kind]:
    from streamnet.errors import ConfigurationError
    from streamnet.samples import Kind

    for name, kind in named or ():
        if kind not in Kind.__members__.values():
            one = ", ".join(Kind)
            raise ConfigurationError(f"--kind ({name}) is {kind!r}, but must be one of {one}")
    return {name: Kind(kind) for name, kind in named or ()}
