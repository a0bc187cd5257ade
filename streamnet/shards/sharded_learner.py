"""ShardedLearner: moves the candidates of a learner to shards, and back at the end."""

from __future__ import annotations

from types import TracebackType
from typing import Self, final

from streamnet.executors import Executor, open_executor
from streamnet.learning.learner import Learner
from streamnet.shards.sharded_population import ShardedPopulation


@final
class ShardedLearner:
    """A context in which the candidates of a learner live in shards.

    Bits do not depend on the number of shards, nor on where they are. At the end, also after an
    error, all is in the learner again, as if it had never left.

    Args:
        learner: Whose candidates are moved, between two blocks.
        shards: Number of shards.
        executor: Name of what runs them, see `EXECUTORS`, or an executor.
    """

    def __init__(self, learner: Learner, shards: int, executor: str | Executor) -> None:
        self._learner, self._shards = learner, shards
        self._executor: Executor
        self._owns = isinstance(executor, str)
        self._executor = open_executor(executor, shards) if isinstance(executor, str) else executor
        self._population: ShardedPopulation | None = None

    def __enter__(self) -> Self:
        learner = self._learner
        trainer, self._evaluator = learner.trainer, learner.evaluator
        self._local = trainer.population
        try:
            self._population = ShardedPopulation(
                trainer.population, learner.evaluator, trainer.rows, self._executor, self._shards
            )
        except BaseException:
            self.close()
            raise
        trainer.population = self._population
        learner.adopt(self._population.evaluator)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Bring everything back, and end the shards."""
        assert self._population is not None
        try:
            if self._population.is_sound:  # otherwise the run has failed for that reason
                self._population.move_back(self._local, self._evaluator)
        finally:
            self._learner.trainer.population = self._local
            self._learner.adopt(self._evaluator)
            self.close()

    def close(self) -> None:
        """End the shards at once."""
        if self._population is not None:
            self._population.close()
        if self._owns:
            self._executor.close()
