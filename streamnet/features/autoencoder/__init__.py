"""Denoising auto-encoder: compresses inputs into a code and scores how unusual each sample is."""

from __future__ import annotations

from streamnet.features.autoencoder.network import AutoEncoderNetwork, Codes, Reconstruction
from streamnet.settings.encoder import AutoEncoderSettings

__all__ = ("AutoEncoderNetwork", "AutoEncoderSettings", "Codes", "Reconstruction")
