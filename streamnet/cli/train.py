"""``streamnet train``: train on files in epochs, with a validation and a test part."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, final

from cyclopts import Group, Parameter

from streamnet.cli.options import (
    DATA,
    Files,
    Options,
    Quiet,
    ReadingOptions,
    SourceOptions,
    TaskName,
    flag,
    options,
    output_option,
)
from streamnet.settings.candidate import Activation, Optimizer
from streamnet.settings.engine import EngineSettings
from streamnet.settings.fields import check_value, list_settings
from streamnet.settings.learning import parse_hidden
from streamnet.settings.run import SourceSettings

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
        str | None,
        Parameter(metavar="UNITS", help=f"{list_settings(EngineSettings)['hidden'].summary}."),
    ] = None
    activation: Annotated[
        Activation | None,
        Parameter(metavar="NAME", help="Activation of the hidden layers; default relu."),
    ] = None
    optimizer: Annotated[
        Optimizer | None, Parameter(metavar="NAME", help="Optimizer; default sgd.")
    ] = None

    def to_kwargs(self) -> dict[str, Any]:
        """What is given, by name of the engine's setting."""
        values = super().to_kwargs()
        network = {n: values.pop(n) for n in ("activation", "optimizer") if n in values}
        if "hidden" in values:
            values["hidden"] = parse_hidden(values["hidden"])
        return {**values, "network": network} if network else values


@final
@options(
    DATA,
    SourceSettings,
    target="COLUMN",
    weight="COLUMN",
    task="TASK",
    drop="A,B,C",
    kinds="COLUMN=KIND",
)
class TrainingDataOptions(SourceOptions):
    """Samples to learn, and the target to predict."""

    target: Annotated[
        str | None, Parameter(metavar="COLUMN", help="Column to predict; default the last one.")
    ] = None
    task: TaskName = "auto"


def train(
    *files: Files,
    data: TrainingDataOptions | None = None,
    reading: ReadingOptions | None = None,
    engine: EngineOptions | None = None,
    model: Annotated[Path | None, output_option("Write the model: .safetensors or .json.")] = None,
    report: Annotated[Path | None, output_option("Write the report: .json.")] = None,
    verbose: Annotated[bool, flag("Print each improvement.")] = False,
    quiet: Quiet = False,
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
    from streamnet.samples import Kind

    if not files:
        raise ConfigurationError("no file is given, but there must be one to learn from")
    outputs = [("model", model, tuple(SUFFIXES)), ("report", report, (".json",))]
    check_output_paths(
        [OutputPath(name, path, suffixes) for name, path, suffixes in outputs if path is not None],
        dict.fromkeys(files, "a file to learn from"),
    )
    given = {**(data.to_kwargs() if data else {}), **(reading.to_kwargs() if reading else {})}
    given["kinds"] = {
        name: check_value(f"--kind ({name})", kind, Kind)
        for name, kind in given.get("kinds", {}).items()
    }
    watcher = EngineWatcher(verbose=verbose, quiet=quiet)
    learner = Engine(
        given.pop("task", None),
        on_improvement=watcher.on_improvement,
        **(engine.to_kwargs() if engine else {}),
    )
    with log_to_stderr():
        return watcher.watch(learner, files, given, model=model, report=report)
