"""The container file: its steps are run in a virtual environment, and what it starts is used."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.daemon.processes import Server

EXTRAS = (
    "avro",
    "kafka",
    "mqtt",
    "nats",
    "objects",
    "oidc",
    "protobuf",
    "redis",
    "serve",
    "telemetry",
)
MOST_BYTES = 650 << 20  # of the environment; measured: 590 MB, of 1.2 GB with all tools


class Step(NamedTuple):
    """An instruction of a container file."""

    name: str
    text: str


@pytest.fixture(scope="module")
def stages(repository: Path) -> list[list[Step]]:
    """The instructions of each stage."""
    text = (repository / "config" / "Containerfile").read_text("utf-8")
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    found: list[list[Step]] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        step = Step(*line.split(maxsplit=1))
        if step.name == "FROM":
            found.append([])
        found[-1].append(step)
    return found


def last(steps: list[Step], name: str) -> str:
    return [step.text for step in steps if step.name == name][-1]


def locked(path: Path) -> dict[str, str]:
    """The entries of a lock by package and version."""
    entries = re.split(r"(?<!\\)\n", path.read_text("utf-8").strip())
    return {re.sub(r"\[.*?\]", "", entry.split()[0]): " ".join(entry.split()) for entry in entries}


def test_the_image_has_nothing_that_builds_and_nobody_that_is_root(
    stages: list[list[Step]],
) -> None:
    build, image = stages
    assert all("pip" not in step.text for step in image if step.name == "RUN")
    names = [step.name for step in image]
    user = last(image, "USER")
    assert user.isdecimal()  # an orchestrator can verify that it is not root
    assert int(user) > 0
    assert all(name != "RUN" for name in names[names.index("USER") :])
    copied = {text.split()[-1] for name, text in image if name == "COPY"}
    assert f"NUMBA_CACHE_DIR={'/opt/kernels'}" in last(image, "ENV")
    assert copied == {"/opt/streamnet", "/opt/kernels"}
    assert last(build, "RUN").endswith("streamnet warm")


def test_the_lock_of_the_image_is_the_part_of_the_lock_that_it_needs(repository: Path) -> None:
    everything = locked(repository / "requirements.lock")
    image = locked(repository / "config" / "runtime.lock")
    assert image.keys() <= everything.keys()
    assert all(
        image[one].rpartition(" ; ")[2].split("--hash")[1:] == everything[one].split("--hash")[1:]
        for one in image
    )
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(one for name in EXTRAS for one in extras[name])]
    names = {re.split(r"[<>=!~;\[ ]", one)[0].lower().replace(".", "-") for one in wanted}
    assert names <= {one.partition("==")[0] for one in image}
    developing = {"mypy", "playwright", "pytest", "ruff", "scikit-learn", "sphinx"}
    assert not developing & {one.partition("==")[0] for one in image}


def size_of(folder: Path) -> int:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_size for path in files)


@pytest.mark.long
def test_the_steps_of_the_container_file_make_a_daemon_that_compiles_nothing(
    repository: Path, tmp_path: Path, stages: list[list[Step]]
) -> None:
    build, image = stages
    source, target, kernels = tmp_path / "source", tmp_path / "streamnet", tmp_path / "kernels"
    skipped = shutil.ignore_patterns(".*", "__pycache__")
    shutil.copytree(repository, source, ignore=skipped)
    places = {"/opt/streamnet": str(target), "/opt/kernels": str(kernels)}
    places["python -m venv"] = f"{shlex.quote(sys.executable)} -m venv"

    def adapt(text: str) -> str:
        for old, new in places.items():
            text = text.replace(old, new)
        return text

    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "NUMBA"))}
    for step in build:
        if step.name == "RUN":
            done = subprocess.run(
                adapt(step.text),
                shell=True,
                cwd=source,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{step.text}\n{done.stdout}\n{done.stderr}"
    assert size_of(target) < MOST_BYTES

    compiled = sorted(kernels.rglob("*.nbc"))
    run_file = tmp_path / "serve.toml"
    run_file.write_text(
        f'serve = {{dir = "{tmp_path}/models", port = 0}}\nmodel.lamp.source.target = "y"\n'
    )
    entry = json.loads(adapt(last(image, "ENTRYPOINT")))
    server = Server(
        [*entry, str(run_file)], NUMBA_CACHE_DIR=str(kernels), PYTHONPATH="", PYTHONSAFEPATH="1"
    )
    try:
        check = json.loads(adapt(last(image, "HEALTHCHECK").partition("CMD ")[2]))
        check[-1] = check[-1].replace("localhost:8000", f"127.0.0.1:{server.port}")
        subprocess.run(check, check=True, timeout=60, env=environment)
        rows = "".join(f'{{"x": {i % 7}, "y": "{"ab"[i % 2]}"}}\n' for i in range(300))
        lines = {"Content-Type": "application/x-ndjson"}
        url = f"{server.url}/v1/models/lamp"
        assert httpx.post(f"{url}/samples", content=rows, headers=lines, timeout=120).is_success
        while httpx.post(f"{url}/predict", json={"sample": {"x": 1}}, timeout=120).is_error:
            pass
    finally:
        _, logged = server.end(signal.SIGTERM)
    assert "compiling" not in logged
    assert sorted(kernels.rglob("*.nbc")) == compiled
