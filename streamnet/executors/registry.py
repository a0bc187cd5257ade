"""The registry of executors by name; their code is imported when it is needed."""

from __future__ import annotations

from importlib import import_module

from streamnet.executors.base import Executor

EXECUTORS = {
    "in_process": "streamnet.executors.in_process:InProcessExecutor",
    "processes": "streamnet.executors.processes:ProcessExecutor",
    "ray": "streamnet.executors.on_ray:RayExecutor",
}
"""Modules and classes by name."""


def open_executor(name: str | None, workers: int) -> Executor:
    """An executor by name; None stands for this process, or with several workers for processes."""
    name = name or ("in_process" if workers == 1 else "processes")
    module, _, kind = EXECUTORS[name].partition(":")
    executor: Executor = getattr(import_module(module), kind)(workers)
    return executor
