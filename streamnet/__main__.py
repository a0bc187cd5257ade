"""``python -m streamnet`` and the command ``streamnet``."""

from __future__ import annotations

from streamnet.cli.app import main

__all__ = ()

if __name__ == "__main__":
    main()
