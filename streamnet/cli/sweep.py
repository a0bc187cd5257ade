"""``streamnet sweep``: replay files with many seeds and settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from streamnet.cli.options import (
    RUN,
    DataOptions,
    DelayOptions,
    EncoderOptions,
    Files,
    IntervalOptions,
    KeyOptions,
    PopulationOptions,
    Quiet,
    ReadingOptions,
    RunOptions,
    SearchOptions,
    SelectionOptions,
    SweepOptions,
)


def sweep(
    *files: Files,
    data: DataOptions | None = None,
    reading: ReadingOptions | None = None,
    encoder: EncoderOptions | None = None,
    population: PopulationOptions | None = None,
    delay: DelayOptions | None = None,
    keys: KeyOptions | None = None,
    selection: SelectionOptions | None = None,
    search: SearchOptions | None = None,
    run: RunOptions | None = None,
    interval: IntervalOptions | None = None,
    runs: SweepOptions | None = None,
    config: Annotated[
        Path | None,
        Parameter(group=RUN, metavar="FILE", help="Run file (TOML); options override it."),
    ] = None,
    quiet: Quiet = False,
) -> int:
    """Replay each file with each seed and each combination of settings, several at a time.

    Each FILE is a stream of its own, as is each quoted pattern. The report of each run and a table
    of all go to the folder of --results; called again, only what is missing there is run. The exit
    code is 1 if a run failed; the others are not affected.
    """
    from streamnet.cli.replay import merge_options
    from streamnet.cli.terminal import Terminal, log_to_stderr, write_error
    from streamnet.cli.views.sweep import SweepView
    from streamnet.executors import open_executor
    from streamnet.runs.sweep import plan_runs, run_all
    from streamnet.settings.execution import SweepSettings

    groups = data, reading, encoder, population, delay, keys, selection, search, run, interval
    settings = merge_options(files, groups, config)
    given = {} if runs is None else runs.to_kwargs()
    chosen = SweepSettings(**{**given, "vary": dict(given.get("vary", ()))})
    planned = plan_runs(settings, chosen)
    view = SweepView(Terminal(), len(planned), quiet=quiet)
    try:
        with log_to_stderr(), open_executor(chosen.executor, chosen.workers) as executor:
            outcome = run_all(planned, Path(chosen.results), executor, view.add)
    except KeyboardInterrupt:
        write_error(f"{view.done} of {len(planned)} runs are done; the next call runs the others")
        raise
    view.show(outcome)
    for one in outcome.failed:
        write_error(f"run {one.run.name} failed: {one.error}")
    return 1 if outcome.failed else 0
