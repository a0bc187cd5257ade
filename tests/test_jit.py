from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import pytest
from numpy.typing import NDArray

from streamnet import jit
from streamnet.jit import exact, exact_inlined, exact_kernel, numerics
from tests.conftest import REPOSITORY
from tests.processes import environment


@exact
def add_up(values: NDArray[np.float64], total: float) -> float:
    for i in range(values.size):
        total += values[i] * values[i] / 3.0
    return total


def test_exact_arithmetic_is_that_of_python_to_the_bit() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        values = random.normal(size=1001) * 10.0 ** random.integers(-8, 8, 1001)
        expected = 0.0
        for x in values.tolist():
            expected += x * x / 3.0
        assert add_up(values, 0.0) == expected
        assert add_up(values[500:], add_up(values[:500], 0.0)) == expected


@exact_inlined
def square(x: Any) -> Any:
    return x * x


@exact_inlined
def fourth_power(x: Any) -> Any:
    return square(square(x))


@exact_kernel
def add_powers(values: NDArray[Any]) -> Any:
    total = values.dtype.type(0)
    for i in range(values.size):
        total += square(values[i]) + fourth_power(values[i])
    return total


@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_functions_inlined_at_several_places_compute_what_python_does(dtype: type) -> None:
    assert add_powers(np.arange(-3, 4).astype(dtype)) == 28 + 196


PROGRAM = """
from streamnet.jit import exact, jit

@jit
def twice(x):
    return 2 * x

@exact
def thrice(x):
    return 3 * x

print(twice(2) + thrice(3))
"""


@pytest.mark.parametrize("named", [True, False], ids=["home", "no-home"])
def test_without_a_writable_cache_kernels_are_compiled_at_every_start_with_one_warning(
    tmp_path: Path, named: bool
) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    here = tmp_path / "here"
    here.mkdir()
    # A file cannot contain a folder, even for root, so it stands in for a read-only place.
    refused = (
        "import os, pwd\ndel os.environ['HOME']\ndef none(_): raise KeyError\npwd.getpwuid = none\n"
    )
    (tmp_path / "sitecustomize.py").write_text("" if named else refused)
    (tmp_path / "__pycache__").write_text("")
    kept = ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")
    inherited = {name: value for name, value in environment().items() if name not in kept}
    done = subprocess.run(
        [sys.executable, str(program)],
        cwd=here,
        env={
            **inherited,
            "HOME": str(program),
            "PYTHONPATH": os.pathsep.join([str(tmp_path), str(REPOSITORY)]),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "13\n"), done.stderr
    (line,) = done.stderr.splitlines()
    home = program if named else os.devnull
    assert line.startswith(f"compiled kernels can't be cached, since {home}/.cache/streamnet/")
    assert not list(here.iterdir())


def describe_processor(**more: str) -> str:
    """The processor that kernels of another process are compiled for."""
    program = "from streamnet.jit import numerics; print(numerics()['cpu'])"
    given = {**environment(), "PYTHONPATH": str(REPOSITORY), **more}
    return subprocess.run(
        [sys.executable, "-c", program], env=given, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_numerics_name_the_processor_that_kernels_are_compiled_for() -> None:
    here = describe_processor()
    assert here == numerics()["cpu"]
    name = here.split()[0]
    chosen = describe_processor(NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="")
    assert chosen.startswith(f"generic on {name} ")
    if "avx" in llvm.get_host_cpu_features().flatten():
        # It is the same processor, but its kernels use fewer of its instructions.
        less = describe_processor(NUMBA_ENABLE_AVX="0")
        assert less.split()[0] == name
        assert less != here


@pytest.mark.parametrize(
    ("path", "counts"),
    [
        ("networks/plan.py", True),
        ("networks/kernels/forward.py", True),
        ("networks/optimizers/adam.py", True),
        ("networks/optimizers/toy.py", True),
        ("networks/activations/deeper/relu.py", True),
        ("networks/simd/functions.py", True),
        ("features/autoencoder/kernels.py", True),
        ("drift/adwin.py", True),  # by the decorators that it imports
        ("settings/candidate.py", False),
        ("pipeline/networks/plan.py", False),
    ],
)
def test_the_kernel_cache_depends_on_every_file_that_may_be_part_of_a_kernel(
    tmp_path: Path, path: str, counts: bool
) -> None:
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    kernel = "from streamnet.jit import kernel\n" if path.startswith("drift") else ""
    file.write_text(f"{kernel}LANES = 16\n")
    before = jit._hash_sources(tmp_path)
    file.write_text(f"{kernel}LANES = 32\n")
    assert (jit._hash_sources(tmp_path) != before) == counts


def imported_names(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Modules of the package and what is imported from them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("streamnet"):
            yield from ((node.module or "", alias.name) for alias in node.names)


def test_kernels_import_constants_only_from_files_that_the_cache_depends_on() -> None:
    """A constant of another file, once changed, would leave stale machine code in the cache."""
    package = REPOSITORY / "streamnet"
    files = [path for folder in jit.KERNEL_FOLDERS for path in (package / folder).rglob("*.py")]
    assert len(files) > 20
    for path in files:
        for module, name in imported_names(ast.parse(path.read_text())):
            place = module.replace(".", "/").removeprefix("streamnet/")
            inside = any(place.startswith(folder) for folder in jit.KERNEL_FOLDERS)
            assert inside or not name.isupper(), (path.name, module, name)
