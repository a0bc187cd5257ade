"""Features: raw columns of a stream to network inputs, learned in one pass."""

from __future__ import annotations

from streamnet.features.encoded import Encoded
from streamnet.features.encoder import Encoder
from streamnet.features.encoder import EncoderStatistics
from streamnet.features.scaling import Scaling
from streamnet.features.snapshot import EncoderSnapshot
from streamnet.features.textcolumn import TextMode

__all__ = (
    "Encoded",
    "Encoder",
    "EncoderSnapshot",
    "EncoderStatistics",
    "Scaling",
    "TextMode",
)
