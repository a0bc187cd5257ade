"""Whatever system call of a real run goes wrong, the next runs end with the right bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Counted
from tests.durability.faulting import FAULTS

STEP = 4


@pytest.fixture(scope="session")
def shim(c_compiler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that lets a system call go wrong."""
    source = Path(__file__).with_name("shim.c")
    library = tmp_path_factory.mktemp("shim") / "shim.so"
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([c_compiler, *flags, "-o", library, source, "-ldl"], check=True)
    return library


def tried(shim: Path, folder: Path, repository: Path, fault: str, first: int, step: int) -> Any:
    """What came of every ``step``-th call going wrong."""
    command = [sys.executable, "-m", "tests.durability.faulting", str(folder), fault]
    done = subprocess.run(
        [*command, str(first), str(step)],
        cwd=repository,
        env={**os.environ, "LD_PRELOAD": str(shim)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def check(found: dict[str, Any], fault: str, fewest: int) -> None:
    assert found["wrong"] == {}
    assert found["calls"] > 50
    assert found["cases"] >= fewest
    # How many calls there are depends on time, by one or two: the last may find nothing to stop.
    assert found["killed"] >= (found["cases"] - 2 if fault in ("kill", "torn") else 0)
    assert found["told"] >= (found["cases"] / 2 if fault in ("ENOSPC", "EIO") else 0)


@pytest.mark.skipif(sys.platform != "linux", reason="libraries are preloaded otherwise there")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_system_call_in_four_goes_wrong(
    memory_folder: Path, repository: Path, shim: Path, counted: Counted, fault: str
) -> None:
    found = tried(shim, memory_folder, repository, fault, FAULTS.index(fault) % STEP, STEP)
    check(found, fault, 50 // STEP)
    counted("system calls", found["cases"])


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="libraries are preloaded otherwise there")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("fault", FAULTS)
def test_every_system_call_goes_wrong(
    memory_folder: Path, repository: Path, shim: Path, counted: Counted, fault: str
) -> None:
    found = tried(shim, memory_folder, repository, fault, 0, 1)
    check(found, fault, 50)
    counted("system calls", found["cases"])
