"""Features: raw columns of a stream to network inputs, learned in one pass."""

from __future__ import annotations

from streamnet.features.encoder import Encoded, Encoder
from streamnet.features.snapshot import EncoderSnapshot, EncoderStatistics
from streamnet.settings.encoder import Scaling, TextMode

__all__ = ("Encoded", "Encoder", "EncoderSnapshot", "EncoderStatistics", "Scaling", "TextMode")
