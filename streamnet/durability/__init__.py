"""State that outlives its process: files that are whole or absent, checkpoints, one writer.

Pure: no event loop. Every call to the file system goes through `Files`, so that a test can let
each of them fail.
"""

from __future__ import annotations

__all__ = ()
