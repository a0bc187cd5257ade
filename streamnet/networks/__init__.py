"""Populations of neural networks, stored in a few flat arrays and trained together."""

from __future__ import annotations

from streamnet.networks.frozen_population import FrozenPopulation, Network
from streamnet.networks.neural_network import NeuralNetwork
from streamnet.networks.population import Population
from streamnet.settings.candidate import CandidateSettings

__all__ = ("CandidateSettings", "FrozenPopulation", "Network", "NeuralNetwork", "Population")
