"""Registry: all peers by name."""

from __future__ import annotations

from streamnet.errors import ConfigurationError
from tests.benchmarks.peers.adapters import (
    baselines,
    capymoa_ensembles,
    ours,
    retrained,
    river_linear,
    river_trees,
    samlb_automl,
    sklearn_models,
    vowpal_wabbit,
)
from tests.benchmarks.peers.peer import Peer

__all__ = ("PEERS", "peers_of")

PEERS: tuple[Peer, ...] = (
    *ours.PEERS,
    *baselines.PEERS,
    *retrained.PEERS,
    *capymoa_ensembles.PEERS,
    *river_trees.PEERS,
    *river_linear.PEERS,
    *vowpal_wabbit.PEERS,
    *samlb_automl.PEERS,
    *sklearn_models.PEERS,
)


def peers_of(names: str) -> list[Peer]:
    """Peers named by a comma-separated list; ``river`` stands for all that start with ``river-``.

    Raises:
        ConfigurationError: If a name fits none.

    >>> [peer.name for peer in peers_of("vw-nn,samlb")]
    ['vw-nn', 'samlb-asml', 'samlb-evoautoml']
    """
    if not names:
        return list(PEERS)
    found: list[Peer] = []
    known_peers = (*PEERS, *ours.EFFORT_PEERS)  # the latter take part only when they are named
    for name in names.split(","):
        fit = [
            peer for peer in known_peers if peer.name == name or peer.name.startswith(f"{name}-")
        ]
        # A full name means that peer alone, though another's name may go on where it ends.
        fit = [peer for peer in fit if peer.name == name] or fit
        if not fit:
            known = ", ".join(peer.name for peer in known_peers)
            raise ConfigurationError(f"peer is {name!r}, but must be one of {known}")
        found += fit
    return found
