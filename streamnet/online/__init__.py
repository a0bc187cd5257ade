"""Online estimators: they learn sample by sample in the caller's own thread."""

from __future__ import annotations

from streamnet.online.autoencoder import AutoEncoder
from streamnet.online.classifier import OnlineClassifier
from streamnet.online.regressor import OnlineRegressor
from streamnet.sources.frames import SamplesLike

__all__ = ("AutoEncoder", "OnlineClassifier", "OnlineRegressor", "SamplesLike")
