"""Models and model files; the suffix selects the format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamnet.modelfiles.model import Model

__all__ = ("Model",)


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        # Clients read the table of formats, and must not wait for numba.
        if name == "Model":
            from streamnet.modelfiles.model import Model

            return Model
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
