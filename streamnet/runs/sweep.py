"""Sweeps: replays of many files, seeds and settings, some at a time, with one table at the end."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple, Unpack, final

from streamnet.durability.files import explain_write_errors, write_durably
from streamnet.errors import ConfigurationError, StreamnetError
from streamnet.executors import Executor, open_executor
from streamnet.learning.warmup import needs_compiling
from streamnet.objects import is_url
from streamnet.progress import ProgressBar
from streamnet.runs.replay import Replay, list_keyword_paths, merge_settings, run_in_thread
from streamnet.settings.execution import SweepSettings
from streamnet.settings.fields import build_settings, list_settings, with_settings
from streamnet.settings.keywords import ManyKeywords
from streamnet.settings.run import RunSettings, apply_overrides
from streamnet.sources.storage.raw import STANDARD_INPUT
from streamnet.version import __version__

TABLE = "table.csv"
_NAME_DIGITS = 12
_SPEED = {"threads", "block_size"}  # settings of `[run]` that change no result
Row = dict[str, Any]


class PlannedRun(NamedTuple):
    """A run of a sweep."""

    name: str  # of its files: a digest of everything that its result depends on
    file: str
    seed: int
    values: dict[str, Any]  # of the settings that vary, by dotted key
    settings: RunSettings


class Finished(NamedTuple):
    """The outcome of a run: its reports by part, or why it failed."""

    run: PlannedRun
    reports: dict[str, dict[str, Any]]
    error: str = ""
    seconds: float = 0.0
    earlier: bool = False  # whether its report was there already


@final
class Sweep:
    """The outcome of a sweep.

    Attributes:
        runs: All runs, in the order of files, settings and seeds.
    """

    def __init__(self, runs: Sequence[Finished]) -> None:
        self.runs: tuple[Finished, ...] = tuple(runs)

    @property
    def failed(self) -> list[Finished]:
        """Runs that failed."""
        return [one for one in self.runs if one.error]

    @property
    def varied(self) -> list[str]:
        """The settings that vary, by their key in a run file."""
        return list(dict.fromkeys(name for one in self.runs for name in one.run.values))

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics of what was served."""
        reports = (report for one in self.runs for report in one.reports.values())
        return list(dict.fromkeys(name for report in reports for name in report["served"]))

    @property
    def table(self) -> list[Row]:
        """A row for each run, and for each of its parts if it has several targets or horizons.

        Its columns are run, file, part, seed, the settings that vary, samples, learned, rejected,
        the metrics of what was served, seconds, and error.
        """
        return [row for one in self.runs for row in _list_rows(one)]

    def write_table(self, path: Path) -> None:
        """Write the table as a CSV file."""
        rows = self.table
        names = list(dict.fromkeys(name for row in rows for name in row))
        last = "seconds", "error"  # also if the first run failed, which has no metrics
        names.sort(key=lambda name: name in last)
        text = io.StringIO()
        writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        with explain_write_errors(f"table {path}"):
            write_durably(path, text.getvalue().encode())


def _list_rows(one: Finished) -> Iterator[Row]:
    run = one.run
    about = {"run": run.name, "file": run.file}
    for part, report in (one.reports or {"": {}}).items():
        counts = {name: report[name] for name in ("samples", "learned", "rejected") if report}
        yield {
            **about,
            **({"part": part} if part else {}),
            "seed": run.seed,
            **{name: _format_value(value) for name, value in run.values.items()},
            **counts,
            **report.get("served", {}),
            "seconds": round(one.seconds, 3),
            "error": one.error,
        }


def _format_value(value: Any) -> Any:
    """A value of a setting as a cell of a table."""
    return json.dumps(value) if isinstance(value, list | tuple | dict) else value


@with_settings(SweepSettings)
def replay_many(
    *files: str | os.PathLike[str],
    target: str | Sequence[str] | None = None,
    config: str | os.PathLike[str] | None = None,
    on_finished: Callable[[Finished], object] = lambda _: None,
    progress: bool = False,
    **settings: Unpack[ManyKeywords],
) -> Sweep:
    r"""Replay each file with each seed and each combination of settings, several at a time.

    Each run gives the same bits as `replay` alone. Runs whose report is in the folder ``results``
    are not repeated, so a sweep that was interrupted, or has grown, continues where it was. A run
    that fails has an error in the table, and does not stop the others.

    Args:
        files: Files, each of which is a stream of its own, as is each glob pattern.
        target: Column to predict, or columns, in all files.
        config: A run file, whose values the other arguments override.
        on_finished: Called with each outcome as it comes.
        progress: Whether to show a progress bar of the runs; it needs tqdm (extra ``progress``).
        settings: Those of `replay`, for all runs, except outputs and state.

    Raises:
        ConfigurationError: If a setting is unknown, breaks its rule, or cannot be shared.
        StreamnetError: If a report or the table cannot be written.

    >>> import tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> rows = "".join(f"{i % 9},{i % 9 * 2}\n" for i in range(300))
    >>> _ = (folder / "numbers.csv").write_text("x,y\n" + rows)
    >>> sweep = replay_many(folder / "numbers.csv", target="y", candidates=2, seeds=[0, 1],
    ...     vary={"serve": ["ensemble", "champion"]}, results=str(folder / "sweep"))
    >>> [(row["seed"], row["selection.serve"]) for row in sweep.table]
    [(0, 'ensemble'), (1, 'ensemble'), (0, 'champion'), (1, 'champion')]
    """
    names = list_settings(SweepSettings)
    own = {name: value for name, value in settings.items() if name in names}
    common = {name: value for name, value in settings.items() if name not in names}
    sweep = build_settings(SweepSettings, own, "replay_many()")
    given = {"target": target, **common}
    others = [*names, "config", "on_finished", "progress"]
    merged = merge_settings(files, config, given, "replay_many()", others)
    planned = plan_runs(merged, sweep, "replay_many()")
    with (
        ProgressBar(progress, len(planned), unit="runs") as bar,
        open_executor(sweep.executor, sweep.workers) as executor,
    ):

        def finish(one: Finished) -> None:
            bar.advance(1)
            on_finished(one)

        return run_all(planned, Path(sweep.results), executor, finish)


def plan_runs(settings: RunSettings, sweep: SweepSettings, owner: str = "") -> list[PlannedRun]:
    """The runs of a sweep, in the order of files, settings and seeds.

    Args:
        settings: What all runs have in common; each of its files is a stream of its own.
        sweep: What varies.
        owner: Begins error messages.

    Raises:
        ConfigurationError: If a setting is unknown or invalid, or not for several runs.
    """
    _check_common(settings)
    paths = list_keyword_paths()
    varied = {paths.get(name, name): values for name, values in (sweep.vary or {}).items()}
    for name, values in varied.items():
        if name in ("source.files", "run.seed") or not values:
            raise ConfigurationError(
                f"vary has {name!r}, but must have values of settings other than files and seed"
            )
    planned: dict[str, PlannedRun] = {}
    for file in settings.source.files:
        for values in product(*varied.values()):
            for seed in sweep.seeds or (settings.run.seed,):
                chosen = dict(zip(varied, values, strict=True))
                overrides = {**chosen, "source.files": [file], "run.seed": seed}
                own = apply_overrides(settings, overrides, owner)
                _check_common(own)
                run = PlannedRun(_name_run(own), file, seed, chosen, own)
                planned.setdefault(run.name, run)
    return list(planned.values())


def _check_common(settings: RunSettings) -> None:
    """Refuse what several runs cannot share."""
    source = settings.source
    if not source.files:
        raise ConfigurationError("no file is given, but there must be one to learn from")
    if STANDARD_INPUT in source.files:
        raise ConfigurationError("standard input is given, but can't be read by several runs")
    if source.follow:
        raise ConfigurationError("follow is given, but the runs of a sweep must end")
    for section in (settings.output, settings.state):
        for name in section.to_kwargs():
            raise ConfigurationError(
                f"{name} is given, but the reports of a sweep go to its folder of results"
            )


def _name_run(settings: RunSettings) -> str:
    """A digest of the settings of a run, and of size and time of its local files."""
    values = settings.model_dump(mode="json", exclude_unset=True)
    values["run"] = {n: v for n, v in values.get("run", {}).items() if n not in _SPEED}
    known = json.dumps([__version__, values, _describe_file(settings.source.files[0])])
    return hashlib.sha256(known.encode()).hexdigest()[:_NAME_DIGITS]


def _describe_file(name: str) -> list[int] | None:
    """Size and time of change of a file; None if it is no single file of this machine."""
    if is_url(name) or not Path(name).is_file():
        return None
    status = Path(name).stat()
    return [status.st_size, status.st_mtime_ns]


def run_all(
    planned: Sequence[PlannedRun],
    folder: Path,
    executor: Executor,
    on_finished: Callable[[Finished], object] = lambda _: None,
) -> Sweep:
    """Execute the runs whose reports are not in a folder, and write their reports and the table.

    Args:
        planned: The runs.
        folder: Where the reports are.
        executor: Executes them.
        on_finished: Called with each outcome as it comes.
    """
    with explain_write_errors(f"results {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
    finished: dict[str, Finished] = {}
    for run in planned:
        if (one := _read_result(folder, run)) is not None:
            finished[run.name] = one
            on_finished(one)
    missing = [run for run in planned if run.name not in finished]
    for one in _execute(missing, folder, executor):
        if not one.error:
            _write_result(folder, one)
        finished[one.run.name] = one
        on_finished(one)
    sweep = Sweep([finished[run.name] for run in planned])
    sweep.write_table(folder / TABLE)
    return sweep


def _execute(missing: Sequence[PlannedRun], folder: Path, executor: Executor) -> Iterator[Finished]:
    waiting = deque(missing)
    running: dict[Future[Any], PlannedRun] = {}
    while waiting or running:
        # The first run compiles for all of them.
        most = 1 if len(waiting) == len(missing) and needs_compiling() else executor.workers
        while waiting and len(running) < most:
            run = waiting.popleft()
            letters = folder / f"{run.name}.rejected.jsonl"
            given: dict[str, Any] = {"output.dead_letters": str(letters)}
            if executor.workers > 1 and "threads" not in run.settings.run.model_fields_set:
                given["run.threads"] = 1
            own = apply_overrides(run.settings, given)
            running[executor.submit(replay_alone, own)] = run
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            yield _finish(running.pop(future), future)


def replay_alone(settings: RunSettings) -> tuple[dict[str, dict[str, Any]], str, float]:
    """Replay with these settings: reports by part, why it failed, and the seconds that it took."""
    start = perf_counter()
    try:
        result = run_in_thread(Replay(settings))
    except StreamnetError as error:
        return {}, str(error), perf_counter() - start
    reports = {name: part.report for name, part in result.parts.items()}
    return reports, "", perf_counter() - start


def _finish(run: PlannedRun, future: Future[Any]) -> Finished:
    try:
        return Finished(run, *future.result())
    except StreamnetError as error:
        return Finished(run, {}, str(error))
    except Exception as error:  # noqa: BLE001 - one failed run must not lose the others
        return Finished(run, {}, f"{type(error).__name__}: {error}")


def _read_result(folder: Path, run: PlannedRun) -> Finished | None:
    """The outcome of a run that is there; None if it is not, or damaged."""
    try:
        kept = json.loads((folder / f"{run.name}.json").read_bytes())
        return Finished(run, dict(kept["reports"]), "", float(kept["seconds"]), earlier=True)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_result(folder: Path, one: Finished) -> None:
    kept = {"file": one.run.file, "seed": one.run.seed, "values": one.run.values}
    text = json.dumps({**kept, "seconds": one.seconds, "reports": one.reports}, allow_nan=False)
    path = folder / f"{one.run.name}.json"
    with explain_write_errors(f"report {path}"):
        write_durably(path, text.encode() + b"\n")
