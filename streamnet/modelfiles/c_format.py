"""C99 source code that predicts as the model does, for devices: written, not read.

One file without dependencies: a struct of inputs, a function, and constant tables.
"""

from __future__ import annotations

from streamnet.modelfiles.document import Document


def recognizes(data: bytes) -> bool:
    """Whether a file looks like C of streamnet."""
    return data.startswith(b"/* A ") and b"exported by streamnet" in data[:1000]


def encode(document: Document) -> bytes:
    """Encode a model document.

    Raises:
        ConfigurationError: If there is no export of the model; the message has all reasons.
    """
    from streamnet.modelfiles.exports.c_program import build
    from streamnet.modelfiles.exports.frozen_model import freeze

    return build(freeze(document)).encode()
