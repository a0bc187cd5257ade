"""Whatever system call of a real run goes wrong, the next runs end with the right bytes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Counted
from tests.durability.system_call_faults import FAULTS
from tests.processes import found_by

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="libraries are preloaded otherwise there"
)


@pytest.fixture(scope="session")
def shim(c_compiler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that lets a system call go wrong."""
    source = Path(__file__).with_name("shim.c")
    library = tmp_path_factory.mktemp("shim") / "shim.so"
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([c_compiler, *flags, "-o", library, source, "-ldl"], check=True)
    return library


Proof = Callable[[str, int], None]


@pytest.fixture
def prove(memory_folder: Path, shim: Path, counted: Counted) -> Proof:
    """Lets one call in ``step`` go wrong, and checks what came of it."""

    def proven(fault: str, step: int) -> None:
        program, first = "tests.durability.system_call_faults", FAULTS.index(fault) % step
        found = found_by(program, memory_folder, fault, first, step, LD_PRELOAD=str(shim))
        assert found["wrong"] == {}
        assert found["calls"] > 50
        assert found["cases"] >= 50 // step
        # How many calls there are depends on time, by one or two: the last may find none to stop.
        assert found["killed"] >= (found["cases"] - 2 if fault in ("kill", "torn") else 0)
        assert found["told"] >= (found["cases"] / 2 if fault in ("ENOSPC", "EIO") else 0)
        counted("system calls", found["cases"])

    return proven


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", FAULTS)
def test_every_fourth_system_call_fails(prove: Proof, fault: str) -> None:
    prove(fault, 4)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("fault", FAULTS)
def test_every_system_call_fails(prove: Proof, fault: str) -> None:
    prove(fault, 1)
