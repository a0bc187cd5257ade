"""State that outlives its process: atomic files, checkpoints, a single writer.

Pure: no event loop. Every file system call goes through `FileSystem`, so tests can make each of
them fail.
"""

from __future__ import annotations

__all__ = ()
