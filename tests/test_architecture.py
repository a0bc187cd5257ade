"""The tree as it is meant to be: layers, sizes, names, and nothing that loads code from data."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
PACKAGE = REPOSITORY / "streamnet"
MOST_LINES = 600
TOP_LEVEL = {
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "config",
    "docs",
    "examples",
    "pyproject.toml",
    "requirements.lock",
    "streamnet",
    "tests",
}
SEE_EVENT_LOOPS = {
    "__main__",
    "cli",
    "client",
    "daemon",
    "datasets",
    "engine",
    "online",
    "pipeline",
    "river",
    "runs",
    "sinks",
    "sources",
    "tracking",
}
NAMES_THAT_SAY_NOTHING = re.compile(r"_*(utils?|helpers?|commons?|misc)")
CODE_FROM_DATA = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "pickletools", "shelve"}
RUNS_TEXT = {"__import__", "compile", "eval", "exec"}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def python_files() -> list[Path]:
    folders = ("streamnet", "tests", "examples")
    return sorted(path for folder in folders for path in (REPOSITORY / folder).rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


LINT = """
import sys
from importlinter.cli import lint_imports
sys.path = [path for path in sys.path if path != sys.argv[1]]
sys.exit(lint_imports(no_cache=True, no_logo=True))
"""


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts of the tree in ``folder``, even where the repository is installed."""
    hidden = str(REPOSITORY) if folder != REPOSITORY else ""
    command = [sys.executable, "-c", LINT, hidden]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_all_import_contracts_are_kept() -> None:
    done = lint_imports(REPOSITORY)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("samples.py", "import streamnet.settings.run", "imports point downwards"),
        ("jit.py", "import streamnet.errors", "imports point downwards"),
        ("utils.py", "", "imports point downwards"),
        ("samples.py", "import anyio", "the core is pure"),
        ("samples.py", "import anyio", "anyio only where event loops are seen"),
        ("settings/run.py", "import asyncio", "the event loop is anyio's"),
        ("samples.py", "from numba import njit", "numba only through streamnet.jit"),
        ("networks/topology.py", "import llvmlite", "numba only through streamnet.jit"),
        ("samples.py", "import pydantic", "pydantic only in settings"),
        ("settings/toml.py", "import streamnet.settings.run", "no cycles"),
    ],
)
def test_each_contract_notices_a_fault(
    tmp_path: Path, module: str, line: str, contract: str
) -> None:
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, tmp_path / "streamnet", ignore=ignored)
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    with (tmp_path / "streamnet" / module).open("a") as file:
        file.write(f"\n{line}\n")
    done = lint_imports(tmp_path)
    assert re.search(rf"^{re.escape(contract)}.* BROKEN", done.stdout, re.MULTILINE), done.stdout


def test_the_list_of_pure_parts_is_complete() -> None:
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    contracts = settings["tool"]["importlinter"]["contracts"]
    (pure,) = (c["source_modules"] for c in contracts if c["id"] == "pure")
    parts = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in modules()}
    parts -= SEE_EVENT_LOOPS | {"__init__"}
    assert sorted(pure) == sorted(f"streamnet.{part}" for part in parts)


@pytest.mark.parametrize("path", python_files(), ids=relative)
def test_a_file_is_short(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= MOST_LINES


def test_names_of_files_and_folders_say_what_is_in_them() -> None:
    parts = {part for path in python_files() for part in path.relative_to(REPOSITORY).parts}
    names = {part.removesuffix(".py").removeprefix("test_") for part in parts}
    assert [name for name in sorted(names) if NAMES_THAT_SAY_NOTHING.fullmatch(name)] == []


def test_every_package_has_an_init_file() -> None:
    packages = {path.parent for path in modules()}
    assert [relative(p) for p in sorted(packages) if not (p / "__init__.py").is_file()] == []


@pytest.mark.parametrize("path", modules(), ids=relative)
def test_no_code_is_loaded_from_data(path: Path) -> None:
    assert list(dangers(ast.parse(path.read_text()))) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "import pickle as harmless",
        "from pickle import loads",
        "import joblib.memory",
        "eval('1')",
        "builtins.exec('1')",
        "np.load(file, allow_pickle=True)",
        "np.load(file, allow_pickle=flag)",
        "def f():\n    import marshal",
    ],
)
def test_code_from_data_is_noticed(code: str) -> None:
    assert len(list(dangers(ast.parse(code)))) == 1


@pytest.mark.parametrize(
    "code",
    [
        "import json",
        "re.compile('a')",
        "np.load(file, allow_pickle=False)",
        "from ast import parse",
    ],
)
def test_harmless_code_is_left_alone(code: str) -> None:
    assert list(dangers(ast.parse(code))) == []


def dangers(tree: ast.AST) -> Iterator[str]:
    """Lines that may run code which came as data."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        elif isinstance(node, ast.Call):
            yield from dangerous_calls(node)
        yield from (name for name in names if name.split(".")[0] in CODE_FROM_DATA)


def dangerous_calls(call: ast.Call) -> Iterator[str]:
    called = ast.unparse(call.func)
    if called.removeprefix("builtins.") in RUNS_TEXT:
        yield called
    for keyword in call.keywords:
        allowed = not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
        if keyword.arg == "allow_pickle" and allowed:
            yield called


def test_the_top_level_holds_only_what_belongs_there() -> None:
    git = shutil.which("git")
    if git is None or not (REPOSITORY / ".git").exists():
        pytest.skip("not a git repository")
    listed = subprocess.run(
        [git, "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    names = {line.split("/")[0] for line in listed.stdout.splitlines()}
    assert {name for name in names if not name.startswith(".")} <= TOP_LEVEL


def test_the_lock_names_no_address_and_has_a_hash_for_each_package() -> None:
    lock = (REPOSITORY / "requirements.lock").read_text()
    assert "://" not in lock
    entries = re.split(r"(?<!\\)\n", lock.strip())
    assert all("==" in entry and "--hash=sha256:" in entry for entry in entries)


def test_the_lock_holds_every_package_that_pyproject_names() -> None:
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    groups = settings["dependency-groups"]
    wanted = [*settings["project"]["dependencies"]]
    wanted += [*groups["test"], *groups["lint"], *groups["docs"]]
    wanted += [
        one for extra in settings["project"]["optional-dependencies"].values() for one in extra
    ]
    lock = (REPOSITORY / "requirements.lock").read_text()
    locked = set(re.findall(r"^([a-z0-9-]+)(?:\[[a-z,]+\])?==", lock, re.MULTILINE))
    names = {re.split(r"[<>=!~;\[ ]", entry)[0].lower().replace(".", "-") for entry in wanted}
    assert names - locked == set()
