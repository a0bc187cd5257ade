"""The version of streamnet."""

from __future__ import annotations

# Not read from metadata: another distribution may be called like this package.
__version__ = "0.1.0"
