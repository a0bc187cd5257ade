"""Settings of sweeps: many replays, of files, seeds and settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from streamnet.settings.fields import Count, Seed, Settings, Text, declare

ExecutorName = Literal["in_process", "processes", "ray"]


@declare
class SweepSettings(Settings):
    """Many replays: each file is learned with each seed and each combination of settings.

    Args:
        results: Folder for the report of each run and the table of all; runs whose report is there
            are not repeated.
        seeds: Seeds of the runs; by default the one of `seed`.
        vary: Values to try, by name of the setting in a run file, such as ``{"search.every": [0,
            4]}``, in every combination.
        workers: Runs at a time.
        executor: Where they run: in_process, one after the other, in processes, or as tasks of
            ray, also on other machines; by default processes if there are several workers.
    """

    results: Text = "sweep"
    seeds: tuple[Seed, ...] = ()
    vary: Mapping[str, tuple[Any, ...]] | None = None
    workers: Count = 1
    executor: ExecutorName | None = None
