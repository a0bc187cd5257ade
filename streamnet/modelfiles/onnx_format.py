"""The ONNX format, which onnxruntime runs and streamnet writes, but can't read.

Every column is an input of shape (n, 1) that has its name. The outputs are called as those of
models that skl2onnx converts: ``output_label`` and ``output_probability``, or ``variable``.
"""

from __future__ import annotations

from streamnet.modelfiles.document import Document
from streamnet.modelfiles.exports.frozen_model import freeze
from streamnet.validation import check_extra


def recognizes(data: bytes) -> bool:
    """Whether a file looks like ONNX of streamnet: it begins with the version and the producer."""
    return data[:1] == b"\x08" and data[2:13] == b"\x12\x09streamnet"


def encode(document: Document) -> bytes:
    """Encode a model document.

    Raises:
        ConfigurationError: If ONNX cannot represent the model, or the extra onnx is not installed.
    """
    check_extra("onnx", "onnx")
    from streamnet.modelfiles.exports.onnx_program import build

    data: bytes = build(freeze(document)).SerializeToString(deterministic=True)
    return data
