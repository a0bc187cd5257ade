"""Shards: the candidates of one population on several processes, or machines."""

from __future__ import annotations

from streamnet.shards.sharded_learner import ShardedLearner

__all__ = ("ShardedLearner",)
