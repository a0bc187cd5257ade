"""``streamnet train``: train on files in epochs, with a validation and a test part."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, final

from cyclopts import Group, Parameter

from streamnet.cli.options import DATA, OUTPUT, Drop, Files, Kinds, ReadingOptions, integer_option

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
    tries: Annotated[
        int | None, integer_option("Restarts with other start weights; default 5.")
    ] = None
    epochs: Annotated[int | None, integer_option("Passes over the training part; default 60.")] = (
        None
    )
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
    optimizer: Annotated[
        str | None, _option("NAME", "sgd (the default), momentum, rmsprop, adagrad or adam.")
    ] = None
    regression_threshold: Annotated[
        float | None,
        _option("NUMBER", "Numbers closer than this to the truth are correct; default 0.05."),
    ] = None
    iterations: Annotated[
        int | None, integer_option("Most samples that a network learns, over all epochs.")
    ] = None
    batch_size: Annotated[
        int | None, integer_option("Samples whose mean gradient makes one step; default 1.")
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
        integer_option(
            "How many of the best answer together; default 10, or 1 with protocol gopher."
        ),
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
    seed: Annotated[int | None, integer_option("Key of all random numbers; default 0.")] = None
    threads: Annotated[
        int | None, integer_option("Most threads that learn at once; default 2.")
    ] = None

    def given(self) -> dict[str, Any]:
        """What was given, by name of the engine's setting."""
        from streamnet.settings.grid import parse_hidden

        values = {name: value for name, value in vars(self).items() if value is not None}
        network = {n: values.pop(n) for n in ("activation", "optimizer") if n in values}
        if "hidden" in values:
            values["hidden"] = parse_hidden(values["hidden"])
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
    from streamnet.cli.terminal import log_to_stderr
    from streamnet.cli.views.engine import EngineWatcher
    from streamnet.durability.files import OutputPath, check_output_paths
    from streamnet.engine import Engine
    from streamnet.errors import ConfigurationError
    from streamnet.modelfiles.formats import SUFFIXES

    if not files:
        raise ConfigurationError("no file is given, but there must be one to learn from")
    outputs = [("model", model, tuple(SUFFIXES)), ("report", report, (".json",))]
    check_output_paths(
        [OutputPath(name, path, suffixes) for name, path, suffixes in outputs if path is not None],
        dict.fromkeys(files, "a file to learn from"),
    )
    shape = {
        n: value for n, value in (reading.given() if reading else {}).items() if value is not None
    }
    training = EngineWatcher(verbose=verbose, quiet=quiet)
    learner = Engine(
        None if task == "auto" else task,
        on_improvement=training.on_improvement,
        **(engine.given() if engine else {}),
    )
    named = {"target": target, "drop": drop or (), "kinds": _parse_kinds(kinds), **shape}
    with log_to_stderr():
        return training.watch(learner, files, named, model=model, report=report)


def _parse_kinds(named: tuple[tuple[str, str], ...] | None) -> dict[str, Kind]:
    from streamnet.errors import ConfigurationError
    from streamnet.samples import Kind

    for name, kind in named or ():
        if kind not in Kind.__members__.values():
            one = ", ".join(Kind)
            raise ConfigurationError(f"--kind ({name}) is {kind!r}, but must be one of {one}")
    return {name: Kind(kind) for name, kind in named or ()}
