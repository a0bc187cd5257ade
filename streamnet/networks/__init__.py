"""Networks: a whole population of them, as arrays."""

from __future__ import annotations

from streamnet.networks.candidate import CandidateSettings
from streamnet.networks.committee import Committee
from streamnet.networks.committee import Network
from streamnet.networks.neural import NeuralNetwork
from streamnet.networks.population import Population

__all__ = ("CandidateSettings", "Committee", "Network", "NeuralNetwork", "Population")
