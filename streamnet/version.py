"""The version of streamnet."""

from __future__ import annotations

__all__ = ("__version__",)

# Not read from metadata: another distribution may be called like this package.
__version__ = "0.1.0"
