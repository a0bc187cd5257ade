"""``streamnet warm``: compile the kernels ahead, as when an image is built."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Annotated, Literal

from cyclopts import Parameter


def warm(
    config: Annotated[
        Path | None, Parameter(help="Run file of a daemon, whose models say what is needed.")
    ] = None,
    /,
    *,
    dtype: Annotated[
        Literal["float32", "float64"], Parameter(help="Precision of the networks without CONFIG.")
    ] = "float32",
) -> int:
    """Compile all kernels into the cache, so that no later start has to.

    Without CONFIG those of both tasks and of all kinds of columns. They fit this version and
    this type of processor; on another one they are compiled again.
    """
    from streamnet.cli.terminal import Terminal
    from streamnet.jit import cache_location
    from streamnet.learning.warmup import warm_up
    from streamnet.runs.builder import encoder_arguments, network_arguments
    from streamnet.samples import Kind, Task
    from streamnet.settings.daemon import load

    started = perf_counter()
    if config is None:
        for task in Task:
            warm_up(task, dtype, kinds=tuple(Kind))
    else:
        for settings in load(config).model.values():
            networks = network_arguments(settings)
            start = networks.get("start")
            precision = networks["dtype"] if start is None else start.dtype.name
            for task in Task:
                warm_up(task, precision, kinds=tuple(Kind), **encoder_arguments(settings))
    _read_a_file()
    Terminal().say(f"compiled in {perf_counter() - started:.0f} s into {cache_location()}")
    return 0


def _read_a_file() -> None:
    """Learn a small file with a state directory: its parser and checkpoints have own kernels."""
    from streamnet.runs.replay import replay

    with TemporaryDirectory() as folder:
        path = Path(folder, "small.csv")
        path.write_text("x,w,y\n" + 50 * "0.5,u,a\n1.5,v,b\n", "utf-8")
        replay(path, target="y", state=Path(folder, "state"))
