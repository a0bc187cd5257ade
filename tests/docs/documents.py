"""The documents that the tests read: README.md, the changelog, and the pages below docs/."""

from __future__ import annotations

from pathlib import Path

__all__ = ("CHANGELOG", "DOCUMENTS", "PAGES", "README", "REPOSITORY", "name_of")

REPOSITORY = Path(__file__).parents[2]
README = REPOSITORY / "README.md"
CHANGELOG = REPOSITORY / "CHANGELOG.md"
MADE = {"build", "runs"}  # folders whose contents no one has written

PAGES = [README, *sorted((REPOSITORY / "docs").rglob("*.md"))]
"""Documents whose commands and programs run."""

DOCUMENTS = [
    path
    for path in sorted(REPOSITORY.rglob("*.md"))
    if not any(part.startswith(".") or part in MADE for part in path.relative_to(REPOSITORY).parts)
]
"""All that is written in Markdown."""


def name_of(path: Path) -> str:
    """A document as tests call it."""
    return path.relative_to(REPOSITORY).as_posix()
