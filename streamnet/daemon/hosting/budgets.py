"""What the models of a daemon share."""

from __future__ import annotations

from typing import final

from streamnet.daemon.journal.commit_log import CommitLog
from streamnet.durability.budget import Budget, Turns
from streamnet.settings.daemon import DEFAULT_CHECKPOINT_BYTES

_PUBLISHING_SHARE = 0.1  # of the time that all models together may take to publish
_SMALL_BLOCKS = 150.0  # of few samples, that all models together learn a second; each takes 1 ms


@final
class Budgets:
    """What the models of a daemon share: bytes of checkpoints, time to publish, turns to learn.

    And the log by which their journals become durable, if there is one.

    >>> Budgets(checkpoint_bytes=1 << 20).checkpoints.seconds_left()
    0.0
    """

    def __init__(self, checkpoint_bytes: int = DEFAULT_CHECKPOINT_BYTES) -> None:
        rate = checkpoint_bytes / 60.0
        self.checkpoints: Budget = Budget(rate, most=checkpoint_bytes / 2)
        self.publishing: Budget = Budget(_PUBLISHING_SHARE, most=2.0)
        self.learning: Turns = Turns(_SMALL_BLOCKS, most=15.0)
        self.commits: CommitLog | None = None
