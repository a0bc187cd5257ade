"""``streamnet replay``: learn data files as a stream."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from streamnet.cli.options import (
    OUTPUT,
    RUN,
    DataOptions,
    EncoderOptions,
    Files,
    OutputOptions,
    PopulationOptions,
    ReadingOptions,
    RunOptions,
    SearchOptions,
    SelectionOptions,
    StateOptions,
)


def replay(
    *files: Files,
    data: DataOptions | None = None,
    reading: ReadingOptions | None = None,
    encoder: EncoderOptions | None = None,
    population: PopulationOptions | None = None,
    selection: SelectionOptions | None = None,
    search: SearchOptions | None = None,
    run: RunOptions | None = None,
    output: OutputOptions | None = None,
    state: StateOptions | None = None,
    resume: Annotated[
        bool,
        Parameter(
            group=RUN,
            negative="",
            show_default=False,
            help="Resume the run whose state is in --state, if there is one.",
        ),
    ] = False,
    config: Annotated[
        Path | None,
        Parameter(group=RUN, metavar="FILE", help="Run file (TOML); options override it."),
    ] = None,
    quiet: Annotated[
        bool, Parameter(group=OUTPUT, negative="", show_default=False, help="Print errors only.")
    ] = False,
) -> int:
    """Learn data files as a stream: every sample is predicted, scored, and only then learned.

    A population of networks learns at once; the ensemble or the champion serves predictions. At the
    end the model can be saved (--model). Ctrl-C ends reading; what was learned is still written.
    """
    from streamnet.cli.terminal import log_to_stderr
    from streamnet.cli.views.watcher import watch
    from streamnet.runs.replay import Replay
    from streamnet.settings.run import RunSettings, apply_overrides, load

    overrides: dict[str, Any] = {"source.files": files or None}
    called = {"source.files": "FILE"}
    groups = (data, reading, encoder, population, selection, search, run, output, state)
    for options in filter(None, groups):
        overrides |= options.to_overrides()
        called |= options.list_flags()
    settings = apply_overrides(load(config) if config else RunSettings(), overrides, called=called)
    with log_to_stderr():
        return watch(Replay(settings, resume=resume), quiet=quiet)
