"""Auto-encoder: inputs compressed into a code, and how unlike the usual a sample is."""

from __future__ import annotations

from streamnet.features.autoencoder.network import AutoEncoderNetwork
from streamnet.features.autoencoder.network import Coded
from streamnet.features.autoencoder.network import Reconstruction
from streamnet.features.autoencoder.settings import AutoEncoderSettings

__all__ = ("AutoEncoderNetwork", "AutoEncoderSettings", "Coded", "Reconstruction")
