"""``streamnet train``: train on files in epochs, with a validation and a test part."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, final

from cyclopts import Group, Parameter

from streamnet.cli.options import (
    DATA,
    OUTPUT,
    Drop,
    Files,
    Kinds,
    Options,
    ReadingOptions,
    TaskName,
    options,
    value_option,
)
from streamnet.settings.candidate import Activation, Optimizer
from streamnet.settings.engine import EngineSettings
from streamnet.settings.fields import format_choices, list_settings
from streamnet.settings.learning import parse_hidden

if TYPE_CHECKING:
    from streamnet.samples import Kind


ENGINE = Group("Engine", sort_key=3)


@final
@options(
    ENGINE,
    EngineSettings,
    criterion="NAME",
    tries="",
    epochs="",
    training_split="FRACTION",
    learning_rate="RATE",
    decay="RATE",
    regression_threshold="NUMBER",
    iterations="",
    batch_size="",
    order="ORDER",
    protocol="NAME",
    ensemble="",
    refit="",
    ordered="",
    seed="",
    threads="",
)
class EngineOptions(Options):
    """How an engine learns; None is the engine's default."""

    hidden: Annotated[
        str | None, value_option("UNITS", f"{list_settings(EngineSettings)['hidden'].summary}.")
    ] = None
    activation: Annotated[
        Activation | None, value_option("NAME", "Activation of the hidden layers; default relu.")
    ] = None
    optimizer: Annotated[Optimizer | None, value_option("NAME", "Optimizer; default sgd.")] = None

    def to_kwargs(self) -> dict[str, Any]:
        """What is given, by name of the engine's setting."""
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
    task: TaskName = "auto",
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
        Parameter(group=OUTPUT, negative="", show_default=False, help="Print each improvement."),
    ] = False,
    quiet: Annotated[
        bool, Parameter(group=OUTPUT, negative="", show_default=False, help="Print errors only.")
    ] = False,
) -> int:
    """Learn data files in epochs: many networks at once, the best of which are kept.

    Samples are split by class, or by quantile of numbers, into a training, a validation and a test
    part. The validation part chooses the networks; the test part, which had no influence, scores
    them. Ctrl-C ends learning; the best so far is still written.
    """
    from streamnet.cli.terminal import log_to_stderr
    from streamnet.cli.views.watcher import EngineWatcher
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
    shape = reading.to_kwargs() if reading else {}
    training = EngineWatcher(verbose=verbose, quiet=quiet)
    learner = Engine(
        None if task == "auto" else task,
        on_improvement=training.on_improvement,
        **(engine.to_kwargs() if engine else {}),
    )
    named = {"target": target, "drop": drop or (), "kinds": _parse_kinds(kinds), **shape}
    with log_to_stderr():
        return training.watch(learner, files, named, model=model, report=report)


def _parse_kinds(named: tuple[tuple[str, str], ...] | None) -> dict[str, Kind]:
    from streamnet.errors import ConfigurationError
    from streamnet.samples import Kind

    for name, kind in named or ():
        if kind not in Kind.__members__.values():
            rule = f"must be {format_choices(map(str, Kind))}"
            raise ConfigurationError(f"--kind ({name}) is {kind!r}, but {rule}")
    return {name: Kind(kind) for name, kind in named or ()}
