"""Settings of how runs are executed: in threads, shards, a fleet of owners, or many at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from streamnet.errors import ConfigurationError
from streamnet.settings.fields import Count, Seed, Settings, Size, Text, declare

ExecutorName = Literal["in_process", "processes", "ray"]
ShardExecutor = Literal["processes", "ray"]


@declare
class ExecutionSettings(Settings):
    """How a run is executed; only ``seed`` and ``round_size`` may change a result.

    Args:
        seed: Seed of all random numbers; equal seeds give equal results, to the bit.
        block_size: Most samples in a block; changes speed, never results.
        threads: Most threads that learn at once; changes speed, never results.
        shards: Workers that share the candidates among them, for populations that are too large
            for this machine's threads; 0: none, this process learns. Changes speed, never results.
        shard_executor: Where shards are: processes of this machine, or ray, also on other
            machines.
        round_size: Samples between two decisions about the population.
    """

    seed: Seed = 0
    block_size: Count = 1024
    threads: Count = 2
    shards: Size = 0
    shard_executor: ShardExecutor = "processes"
    round_size: Count = 1024


@declare
class FleetSettings(Settings):
    """Keys divided into partitions, each learned by itself, and workers that own them.

    Args:
        owners: Workers that share the partitions among them, for more keys or samples than one
            process can learn; 0: none. Changes speed, never results.
        owner_executor: Where owners are: processes of this machine, or ray, also on other machines.
        partitions: Partitions of the keys, by a hash. Each has a shared model, which learns the
            samples of its keys only, so that more of them may change results.
        partition: Learn the keys of this partition only, from 0 on; by default all keys.
    """

    owners: Size = 0
    owner_executor: ShardExecutor = "processes"
    partitions: Count = 16
    partition: Size | None = None

    def check_rules(self) -> None:
        """Check that there is the partition, and an owner for some of them only."""
        if self.partition is not None and self.partition >= self.partitions:
            raise ConfigurationError(
                f"partition is {self.partition}, but must be < {self.partitions}, the number of "
                "partitions"
            )
        if self.partition is not None and self.owners:
            raise ConfigurationError(
                f"partition is {self.partition}, but owners must be 0 then: it is learned here"
            )
        if self.owners > self.partitions:
            raise ConfigurationError(
                f"owners is {self.owners}, but must be <= {self.partitions}, the number of "
                "partitions"
            )


@declare
class SweepSettings(Settings):
    """Many replays: each file is learned with each seed and each combination of settings.

    Args:
        results: Folder for the report of each run and the table of all; runs whose report is there
            are not repeated.
        seeds: Seeds of the runs; by default the one of `seed`.
        vary: Values to try, by name of the setting in a run file, such as ``{"search.every": [0,
            4]}``, in every combination.
        workers: Runs at a time.
        executor: Where they run: in_process, one after the other, in processes, or as tasks of
            ray, also on other machines; by default processes if there are several workers.
    """

    results: Text = "sweep"
    seeds: tuple[Seed, ...] = ()
    vary: Mapping[str, tuple[Any, ...]] | None = None
    workers: Count = 1
    executor: ExecutorName | None = None
