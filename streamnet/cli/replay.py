"""``streamnet replay`` and ``run``: learn data files as a stream."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from streamnet.cli.options import (
    RUN,
    DataOptions,
    DelayOptions,
    EncoderOptions,
    Files,
    FleetOptions,
    IntervalOptions,
    KeyOptions,
    Options,
    OutputOptions,
    PopulationOptions,
    Quiet,
    ReadingOptions,
    RunOptions,
    SearchOptions,
    SelectionOptions,
    StateOptions,
    flag,
)
from streamnet.settings.fields import list_settings
from streamnet.settings.run import SourceSettings, StateSettings

if TYPE_CHECKING:
    from streamnet.runs.group import GroupRun
    from streamnet.runs.replay import Replay
    from streamnet.settings.run import RunSettings


def replay(
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
    output: OutputOptions | None = None,
    state: StateOptions | None = None,
    fleet: FleetOptions | None = None,
    resume: Annotated[
        bool, flag("Resume the run whose state is in --state, if there is one.", RUN)
    ] = False,
    config: Annotated[
        Path | None,
        Parameter(group=RUN, metavar="FILE", help="Run file (TOML); options override it."),
    ] = None,
    quiet: Quiet = False,
) -> int:
    """Learn data files as a stream: every sample is predicted, scored, and only then learned.

    A population of networks learns at once; the ensemble or the champion serves predictions. At the
    end the model can be saved (--model). Ctrl-C ends reading; what was learned is still written.
    """
    from streamnet.cli.terminal import log_to_stderr
    from streamnet.cli.views.fleet import watch_fleet
    from streamnet.cli.views.watcher import watch
    from streamnet.runs.replay import Replay

    groups = (
        *(data, reading, delay, keys, encoder, population, selection, search),
        *(run, interval, output, state, fleet),
    )
    settings = merge_options(files, groups, config)
    if settings.fleet.owners:
        with log_to_stderr():
            return watch_fleet(settings, resume=resume, quiet=quiet)
    with log_to_stderr():
        return watch(Replay(settings, resume=resume), quiet=quiet)


def merge_options(
    files: Sequence[str], groups: Iterable[Options | None], config: Path | None
) -> RunSettings:
    """The settings of a run file, if there is one, overridden by files and options."""
    from streamnet.settings.run import RunSettings, apply_overrides, load

    overrides: dict[str, Any] = {"source.files": files or None}
    called = {"source.files": "FILE"}
    for options in filter(None, groups):
        overrides |= options.to_overrides()
        called |= options.list_flags()
    return apply_overrides(load(config) if config else RunSettings(), overrides, called=called)


_RELOADABLE_KEYS = tuple(
    f"{table}.{name}"
    for table, group in (("state", StateSettings), ("source", SourceSettings))
    for name, declared in list_settings(group).items()
    if declared.setting.reloadable
)
_MAX_DIFFERENCES = 10  # in a message; the table of a single candidate has more settings


def run(
    config: Annotated[Path, Parameter(help="Run file (TOML) with a [state] section.")],
    /,
    *,
    quiet: Quiet = False,
) -> int:
    """Run a run file, resuming from its state directory if there is a state.

    Ctrl-C or SIGTERM stops reading; what was read is learned, and a last checkpoint is written. A
    second signal stops at once. SIGHUP reloads the run file and applies settings that may change;
    a run with owners has to be started again.
    """
    from streamnet.cli.terminal import log_to_stderr
    from streamnet.cli.views.fleet import watch_fleet
    from streamnet.cli.views.group import watch_group
    from streamnet.cli.views.watcher import watch
    from streamnet.errors import ConfigurationError
    from streamnet.runs.replay import Replay
    from streamnet.settings.run import load

    settings = load(config)
    if settings.state.dir is None:
        raise ConfigurationError(f"{config}: state.dir is not given, but a run needs a state")
    if settings.source.kafka is not None and settings.source.kafka.subscribe:
        with log_to_stderr():
            return watch_group(settings, quiet=quiet, reload=lambda group: reload(group, config))
    if settings.fleet.owners:
        with log_to_stderr():
            return watch_fleet(settings, resume=True, quiet=quiet, hang_up=True)
    replay = Replay(settings, resume=True)
    with log_to_stderr():
        return watch(replay, quiet=quiet, reload=lambda: reload(replay, config))


def reload(replay: Replay | GroupRun, config: Path) -> str:
    """Reload the run file, apply the settings that changed, and return a message that names them.

    Nothing is applied if a setting changed that can't change during a run.
    """
    from streamnet.durability.provenance import describe_differences, flatten_settings
    from streamnet.errors import ConfigurationError
    from streamnet.settings.run import load

    settings = load(config)
    before = replay.settings.model_dump(mode="json", exclude_defaults=True)
    now = settings.model_dump(mode="json", exclude_defaults=True)
    fixed = [d for d in describe_differences(before, now) if not d.startswith(_RELOADABLE_KEYS)]
    if fixed:
        raise ConfigurationError(
            f"{config}: {'; '.join(fixed[:_MAX_DIFFERENCES])}: can't change during a run"
        )
    changed = {
        name
        for name in _RELOADABLE_KEYS
        if flatten_settings(before).get(name) != flatten_settings(now).get(name)
    }
    replay.change(settings)
    return f"{config} was reloaded: {', '.join(sorted(changed)) or 'nothing'} changed"
