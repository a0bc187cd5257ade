"""The example of a cluster, on two machines: network namespaces of this one, each a node of Ray.

``pytest -m long tests/runs/test_fleet_on_a_cluster.py`` runs it as root, where `ip netns` works.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree, which
from tempfile import mkdtemp

import pytest

from streamnet.runs.fleet_status import read_status
from tests.conftest import REPOSITORY
from tests.learning.streams import differences
from tests.processes import environment
from tests.runs.test_fleet import RUN_FILE, read_state, start, write_stream

EXAMPLE = REPOSITORY / "examples" / "cluster"
SECONDS = 300


def run(*command: str, **variables: str) -> str:
    """Run a command to its end, and return what it prints."""
    done = subprocess.run(
        command,
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


class Machine:
    """A network namespace, in which commands run as on a machine of its own."""

    def __init__(self, number: int, variables: dict[str, str]) -> None:
        self.name, self.address = f"sn{os.getpid()}-{number}", f"10.77.0.{number}"
        self._variables = variables
        run("ip", "netns", "add", self.name)

    def connect(self, link: str) -> None:
        run("ip", "-n", self.name, "addr", "add", f"{self.address}/24", "dev", link)
        for device in (link, "lo"):
            run("ip", "-n", self.name, "link", "set", device, "up")

    def run_example(self, script: str, *arguments: str) -> None:
        inside = ("ip", "netns", "exec", self.name)
        run(*inside, "sh", str(EXAMPLE / script), *arguments, **self._variables)

    def start(self, folder: Path) -> subprocess.Popen[bytes]:
        command = ["ip", "netns", "exec", self.name, sys.executable]
        with (folder / "errors.txt").open("ab") as errors:
            return subprocess.Popen(
                [*command, "-m", "streamnet", "run", "run.toml", "--quiet"],
                cwd=folder,
                stderr=errors,
                env=environment(**self._variables),
            )

    def list_processes(self) -> list[int]:
        return list(map(int, run("ip", "netns", "pids", self.name).split()))

    def has_owner(self) -> bool:
        paths = (Path(f"/proc/{process}/cmdline") for process in self.list_processes())
        return any(b"ray::_Host" in path.read_bytes() for path in paths if path.exists())

    def crash(self) -> None:
        """End all processes at once."""
        for process in self.list_processes():
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def close(self) -> None:
        self.crash()
        run("ip", "netns", "delete", self.name)


@pytest.fixture
def machines() -> Iterator[tuple[Machine, Machine]]:
    """Two machines that are nodes of a cluster of Ray, with a core each."""
    pytest.importorskip("ray")
    if os.geteuid() != 0 or which("ip") is None:
        pytest.skip("network namespaces are made by root, with the command ip")
    command = ["ip", "netns", "add", "streamnet-probe"]
    probe = subprocess.run(command, capture_output=True, check=False)
    if probe.returncode:
        pytest.skip(f"network namespaces can't be made: {probe.stderr.decode().strip()}")
    run("ip", "netns", "delete", "streamnet-probe")
    folder = Path(mkdtemp(prefix="sn-"))  # short, since names of sockets are
    (folder / "token").write_text(secrets.token_hex(32))
    variables = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "RAY_ADDRESS": "10.77.0.1:6379",
    }
    found: list[Machine] = []
    try:
        found += [Machine(number, variables) for number in (1, 2)]
        first, second = found
        names = [f"sn{os.getpid()}a", f"sn{os.getpid()}b"]
        run(
            *("ip", "link", "add", names[0], "netns", first.name, "type", "veth"),
            *("peer", "name", names[1], "netns", second.name),
        )
        for machine, name in zip(found, names, strict=True):
            machine.connect(name)
        first.run_example("head.sh", first.address, "--num-cpus=1", f"--temp-dir={folder}")
        second.run_example("worker.sh", first.address, second.address, "--num-cpus=1")
        yield first, second
    finally:
        for machine in found:
            machine.close()
        rmtree(folder, ignore_errors=True)


def wait_for_samples(folder: Path, process: subprocess.Popen[bytes], size: int) -> None:
    """Wait until so many bytes of predictions are there."""
    while sum(path.stat().st_size for path in folder.glob("predictions.*.csv")) < size:
        assert process.poll() is None, (folder / "errors.txt").read_text()
        time.sleep(0.05)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_machine_that_dies_and_comes_back_leaves_no_trace(
    tmp_path: Path, machines: tuple[Machine, Machine]
) -> None:
    first, second = machines
    whole, folder = tmp_path / "whole", tmp_path / "cluster"
    for path in (whole, folder):
        path.mkdir()
        write_stream(path / "stream.csv", 150_000, keys=300)
    assert start(whole, 1, "processes").wait() == 0
    files = sorted(path.name for path in whole.glob("predictions.*.csv"))
    total = sum((whole / name).stat().st_size for name in files)
    (folder / "run.toml").write_text(RUN_FILE.format(owners=2, executor="ray"))
    process = first.start(folder)
    wait_for_samples(folder, process, total // 10)
    assert first.has_owner()
    assert second.has_owner()
    second.crash()
    wait_for_samples(folder, process, total // 2)
    status = read_status(str(folder / "state"))
    assert status is not None
    lost = [owner.number for owner in status.owners if owner.replaced]
    assert len(lost) == 1
    second.run_example("worker.sh", first.address, second.address, "--num-cpus=1")
    assert process.wait() == 0, (folder / "errors.txt").read_text()
    assert len(files) == 6
    for name in files:
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name
    for number in range(6):
        name = f"state/partition-{number}"
        assert differences(read_state(folder / name), read_state(whole / name)) == []
