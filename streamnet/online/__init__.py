"""Online estimators: they learn sample by sample in the caller's own thread."""

from __future__ import annotations

from streamnet.online.autoencoder import AutoEncoder
from streamnet.online.estimators import OnlineClassifier, OnlineRegressor
from streamnet.online.explanation_history import ExplanationHistory
from streamnet.online.keyed import KeyedClassifier, KeyedRegressor
from streamnet.sources.frames import SamplesLike

__all__ = (
    "AutoEncoder",
    "ExplanationHistory",
    "KeyedClassifier",
    "KeyedRegressor",
    "OnlineClassifier",
    "OnlineRegressor",
    "SamplesLike",
)
