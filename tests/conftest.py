"""What all tests share: hypothesis profiles, event loops, data and tools that may be absent."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest
from hypothesis import HealthCheck, settings

from tests.kernels import compile_once

# Hundreds of processes would each compile the package anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Read by polars when it is first imported.
os.environ.setdefault("POLARS_MAX_THREADS", "2")

# A shell starts what is to run in the background with SIGINT ignored, and Python leaves it so.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).parent.parent
IN_CI = os.environ.get("CI", "").lower() not in ("", "0", "false")

# The first example of a test may compile kernels, so no example has a deadline.
SLOW_STARTS = [HealthCheck.too_slow]
# Examples in CI are the same in each run, so that many find no more than some.
settings.register_profile(
    "ci", deadline=None, derandomize=True, max_examples=50, suppress_health_check=SLOW_STARTS
)
settings.register_profile("local", deadline=None, suppress_health_check=SLOW_STARTS)
settings.load_profile("ci" if IN_CI else "local")

Runner = Callable[..., Any]
Counted = Callable[..., None]

COMPILES = """
from streamnet.learning.warmup import warm_up
from streamnet.samples import Task

for given in ((Task.CLASSIFICATION,), (Task.REGRESSION,), (Task.CLASSIFICATION, "float64")):
    warm_up(*given)
"""

TRACED = 1  # cases of a test that coverage looks at
TRACING = "COVERAGE_PROCESS_CONFIG"  # the variable that lets coverage trace a process


def pytest_configure(config: pytest.Config) -> None:
    """Compile the common kernels before several workers do so at the same time."""
    if getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput"):
        given = {name: value for name, value in os.environ.items() if name != TRACING}
        program = [sys.executable, "-c", COMPILES]
        subprocess.run(program, cwd=REPOSITORY, env=given, check=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Trace no further cases of a test: they go over the same lines, but for few, and take long.

    Examples of a property are such cases.
    """
    cases = Counter[str]()
    for item in items:
        test = item.nodeid.partition("[")[0]
        cases[test] += 1
        has_examples = getattr(getattr(item, "obj", None), "is_hypothesis_test", False)
        if cases[test] > TRACED or has_examples:
            item.add_marker("no_cover")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """What is not traced starts no processes that are."""
    kept = os.environ.pop(TRACING, None) if item.get_closest_marker("no_cover") else None
    try:
        return (yield)
    finally:
        if kept is not None:
            os.environ[TRACING] = kept


@pytest.fixture(scope="session", autouse=True)
def _compile_once(tmp_path_factory: pytest.TempPathFactory) -> Generator[None]:
    """Compile a kernel in one of several workers."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        yield
        return
    with compile_once(tmp_path_factory.getbasetemp().parent / "kernels.lock"):
        yield


@pytest.fixture(scope="session")
def repository() -> Path:
    """Top folder of the repository."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of larger real streams, which the repository doesn't hold."""
    folder = Path(os.environ.get("STREAMNET_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}; STREAMNET_DATA names another one")
    return folder


@pytest.fixture
def counted(
    record_property: Callable[[str, object], None], request: pytest.FixtureRequest
) -> Counted:
    """Tell how much a proof has tried, for `tests.durability.proof_figures`: ``counted("kills",
    150)``.

    ``seeds`` are those that chance was drawn from.
    """

    def count(proof: str, cases: int, seeds: Sequence[int] = ()) -> None:
        long = request.node.get_closest_marker("long") is not None
        record_property(
            "counted", {"proof": proof, "cases": cases, "seeds": list(seeds), "long": long}
        )

    return count


@pytest.fixture(scope="session")
def c_compiler() -> str:
    """Command of a C compiler; CI has to have one."""
    command = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if command is None and IN_CI:
        pytest.fail("no C compiler, which CI needs")
    if command is None:
        pytest.skip("no C compiler")
    return command


@pytest.fixture(scope="session")
def chromium() -> str:
    """Command of a Chromium; CI has to have one."""
    command = shutil.which("chromium") or shutil.which("chromium-browser")
    if command is None and IN_CI:
        pytest.fail("no Chromium, which CI needs")
    if command is None:
        pytest.skip("no Chromium")
    return command


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> str:
    """Name of an event loop: a test that asks for it runs once on each."""
    return str(request.param)


@pytest.fixture
def run(backend: str) -> Runner:
    """Call an async function and wait for it on each event loop: ``run(function, *args)``."""

    def run_on_backend(function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        return anyio.run(function, *args, backend=backend)

    return run_on_backend


@pytest.fixture(scope="session")
def s3_environment() -> Generator[dict[str, str]]:
    """The variables by which an S3 server is found."""
    from tests.object_servers import serve_s3

    with serve_s3() as found:
        yield found


@pytest.fixture
def azure_bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty container of Azurite, which npm installs."""
    from streamnet import objects
    from tests.object_servers import azurite

    with azurite(tmp_path) as (url, given):
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        objects._open_store.cache_clear()
        yield url


@pytest.fixture
def bucket(s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty bucket."""
    from streamnet import objects
    from tests.object_servers import make_bucket

    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    objects._open_store.cache_clear()
    return make_bucket(s3_environment, f"test-{uuid4().hex}")


@pytest.fixture
def gs_bucket(
    bucket: str,
    s3_environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """The URL of an empty bucket of Google's, which is a bucket of S3 with versions as well."""
    from tests.object_servers import keep_versions, serve_gs

    keep_versions(s3_environment, bucket)
    with serve_gs(s3_environment, tmp_path_factory.mktemp("gs")) as given:
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        yield bucket.replace("s3://", "gs://")


@pytest.fixture(params=["bucket", "gs_bucket"])
def any_bucket(request: pytest.FixtureRequest) -> str:
    """The URL of an empty bucket of each kind."""
    found: str = request.getfixturevalue(request.param)
    return found
