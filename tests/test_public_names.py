"""Public is what has no underscore; a package passes on what its `__all__` names, and no other."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from inspect import signature
from pathlib import Path

import pytest

import streamnet

REPOSITORY = Path(__file__).parent.parent
MODULES = sorted((REPOSITORY / "streamnet").rglob("*.py"))
Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def has_code(path: Path) -> bool:
    """Whether a package has more than a docstring."""
    return len(ast.parse(path.read_text()).body) > 1


PACKAGES = [path for path in MODULES if path.name == "__init__.py" and has_code(path)]
OTHERS = [path for path in MODULES if path.name != "__init__.py"]


def name_of(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run on import, those within `if` and `try` included."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try):
            yield from statements(node.body)
            yield from statements(node.orelse)
        if isinstance(node, ast.Try):
            for handler in node.handlers:
                yield from statements(handler.body)


def assigned(node: ast.stmt) -> list[str]:
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign):
        targets = [node.target]
    names = [part for target in targets for part in ast.walk(target)]
    return [name.id for name in names if isinstance(name, ast.Name)]


def faults(source: str, package: str = "streamnet") -> list[str]:
    """What is wrong with the public names of a package."""
    nodes = list(statements(ast.parse(source).body))
    declared = declaration(nodes)
    if declared is None:
        return ["no __all__"]
    if not isinstance(declared, tuple):
        return ["__all__ is not a tuple of constants"]
    found = []
    if list(declared) != sorted(set(declared), key=place):
        found.append("__all__ is not sorted, or names something twice")
    definitions = {node.name for node in nodes if isinstance(node, Definition)}
    bound = {name for node in nodes for name in assigned(node)}
    imported = {
        alias.asname or alias.name
        for node in nodes
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("streamnet.")
        for alias in node.names
    }
    # What it needs from other packages, such as for a registry, it need not pass on.
    own = {
        alias.asname or alias.name
        for node in nodes
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith(f"{package}.")
        for alias in node.names
    }
    found += [f"{name} is public, but not in __all__" for name in sorted(own - {*declared})]
    found += [f"{name} is defined here" for name in sorted(definitions) if name[0] != "_"]
    unknown = sorted({*declared} - bound - imported)
    found += [f"{name} is in __all__, but not made here" for name in unknown]
    return found + ([] if opens(nodes) else ["__all__ comes after a definition"])


def place(name: str) -> tuple[bool, bool, str]:
    """Constants, then classes, then the rest, as ruff's RUF022 sorts them."""
    return not name.isupper(), not name[0].isupper(), name


def declaration(nodes: list[ast.stmt]) -> object:
    for node in nodes:
        if "__all__" in assigned(node) and isinstance(node, ast.Assign | ast.AnnAssign):
            try:
                return ast.literal_eval(node.value) if node.value else ""
            except ValueError:
                return ""
    return None


def opens(nodes: list[ast.stmt]) -> bool:
    """Whether nothing but imports, and what they need, stands before `__all__`."""
    for node in nodes:
        if "__all__" in assigned(node):
            return True
        if isinstance(node, Definition):
            return False
    return False


@pytest.mark.parametrize("path", PACKAGES, ids=name_of)
def test_all_names_exactly_what_is_public(path: Path) -> None:
    found = faults(path.read_text(), name_of(path))
    assert not found, "; ".join(found)


@pytest.mark.parametrize("path", PACKAGES, ids=name_of)
def test_every_public_name_can_be_imported(path: Path) -> None:
    module = importlib.import_module(name_of(path))
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


@pytest.mark.parametrize("name", sorted({*streamnet.__all__} - {"Kind", "Task", "__version__"}))
def test_help_on_a_public_name_explains_every_argument(name: str) -> None:
    public = getattr(streamnet, name)
    explained = re.findall(r"^ +(\w+): |`(\w+)`", public.__doc__, re.MULTILINE)
    assert (
        set(signature(public).parameters) - {name for found in explained for name in found} == set()
    )


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("from streamnet.a import A", "no __all__"),
        ("__all__ = ['f']", "__all__ is not a tuple of constants"),
        ("__all__ = (f(),)", "__all__ is not a tuple of constants"),
        ("__all__ = ('g', 'f')\nf = g = 1", "__all__ is not sorted, or names something twice"),
        ("__all__ = ('B', 'AA')\nAA = B = 1", "__all__ is not sorted, or names something twice"),
        ("__all__ = ('f', 'f')\nf = 1", "__all__ is not sorted, or names something twice"),
        ("from a import A\n__all__ = ('A',)", "A is in __all__, but not made here"),
        ("from streamnet.a import A, B\n__all__ = ('A',)", "B is public, but not in __all__"),
        ("__all__ = ()\nclass A: pass", "A is defined here"),
    ],
)
def test_a_fault_is_noticed(source: str, fault: str) -> None:
    assert faults(source) == [fault]


def test_a_module_says_by_underscores_what_is_public() -> None:
    assert not [name_of(path) for path in OTHERS if "__all__" in path.read_text()]


def test_a_package_may_import_what_it_needs_to_pass_on_names_late() -> None:
    source = "import a\nfrom b import c\nif c:\n    from streamnet.a import A\n"
    source += "__all__ = ('A',)\ndef __getattr__(name): pass"
    assert faults(source) == []


def test_private_names_constants_and_other_imports_need_not_be_public() -> None:
    source = "import a\n__all__ = ('C',)\nC: int = 1\nD = 2\ndef _g(): pass"
    assert faults(source) == []


def test_the_version_is_that_of_the_distribution() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert streamnet.__version__ == version(project["name"])


def test_a_foreign_distribution_with_the_name_of_the_package_is_not_mistaken_for_ours(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "streamnet-99.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: streamnet\nVersion: 99.0\n")
    program = (
        "import sys; from importlib.metadata import version; import streamnet; "
        "from streamnet.modelfiles.document import build_document; "
        "d = build_document(encoder={'settings': {'task': None}, 'labels': []}, networks=[], "
        "ensemble=None, dtype='float32', about={}); "
        "print(version('streamnet'), streamnet.__version__, d['streamnet'])"
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{REPOSITORY}"}
    printed = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    ).stdout.split()
    assert printed == ["99.0", streamnet.__version__, streamnet.__version__]
