"""The command line; the modules import heavy parts only when a command runs."""

from __future__ import annotations

__all__ = ("STANDARD_INPUT",)

# Stands for "-", which cyclopts would take for an option; a file of that name is given as ./-.
STANDARD_INPUT = ".//-"
