"""Runs whose keys are divided among owners: workers that take partitions over from each other."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from time import monotonic, time
from typing import Any, Unpack, final

import anyio
from anyio.from_thread import start_blocking_portal

from streamnet.durability.provenance import describe_differences
from streamnet.errors import ConfigurationError, DataError, StreamnetError
from streamnet.executors import Actor, Executor, WorkerDiedError, open_executor
from streamnet.jit import numerics
from streamnet.objects import is_url
from streamnet.runs.builder import check_files
from streamnet.runs.fleet_status import FleetStatus, OwnerStatus, write_status
from streamnet.runs.owner import Owner, PartitionStatus
from streamnet.runs.partitions import build_key_partition_settings
from streamnet.runs.replay import merge_settings
from streamnet.settings.execution import FleetSettings
from streamnet.settings.fields import with_settings
from streamnet.settings.keywords import FleetKeywords
from streamnet.settings.run import RunSettings
from streamnet.settings.sinks import SENT_OUTPUTS, find_sink

logger: logging.Logger = logging.getLogger("streamnet.runs")

POLL_SECONDS = 0.2
START_SECONDS = 60.0  # for which partitions are kept for an owner that is being started
SILENT_SECONDS = 60.0  # after which an owner that does not answer is replaced
STATUS_SECONDS = 2.0  # between two statuses that are written
RETRY_SECONDS = 2.0  # until a lost owner is replaced, if there is no room for another one now
MAX_DEATHS = 3  # of an owner that learned nothing new in between, before the run gives up

MEANS = ("accuracy", "mae", "log_loss", "brier")
"""Metrics of all samples that are the means of those of the partitions, if all weigh the same."""


_COUNTS = "samples", "learned", "rejected", "keys"


@final
class FleetResult:
    """The outcome of a run whose keys were divided among owners.

    Attributes:
        reports: The reports of each partition that had records, by part of the run; without a
            sample, they have only counts.
    """

    def __init__(self, reports: dict[int, dict[str, dict[str, Any]]]) -> None:
        self.reports: dict[int, dict[str, dict[str, Any]]] = dict(sorted(reports.items()))

    @property
    def table(self) -> list[dict[str, Any]]:
        """A row for each partition and part, and the totals of each part, of partition "all".

        Totals have those metrics that are means over samples, unless these have weights.
        """
        parts: dict[str, dict[int, dict[str, Any]]] = {}
        for number, found in self.reports.items():
            for name, report in found.items():
                parts.setdefault(name, {})[number] = report
        rows = [
            _make_row(number, name, report)
            for number, found in self.reports.items()
            for name, report in found.items()
        ]
        return [*rows, *(_sum_up(name, list(found.values())) for name, found in parts.items())]


def _make_row(number: int, part: str, report: dict[str, Any]) -> dict[str, Any]:
    counts = {**report, "keys": report.get("keys", {}).get("count", 0)}
    row = {"partition": number, "part": part, **{name: counts[name] for name in _COUNTS}}
    return {**row, **report["served"]}


def _sum_up(part: str, reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    rows = [_make_row(0, part, report) for report in reports]
    total: dict[str, Any] = {"partition": "all", "part": part}
    total |= {name: sum(row[name] for row in rows) for name in _COUNTS}
    if any("weight" in one.get("settings", {}).get("source", {}) for one in reports):
        return total  # reports do not say how much the samples of a partition weigh
    for name in MEANS:
        scored = [(one["served"].get(name), one["scored"]) for one in reports]
        found = [(value, count) for value, count in scored if value is not None]
        if weight := sum(count for _, count in found):
            total[name] = sum(value * count for value, count in found) / weight
    return total


def _count(reports: dict[int, dict[str, dict[str, Any]]], name: str) -> list[int]:
    """A count of the first part of each partition."""
    return [next(iter(found.values()))[name] for found in reports.values()]


def check_fleet(settings: RunSettings) -> None:
    """Check the settings of a run whose keys are divided among owners.

    Raises:
        ConfigurationError: If one contradicts that.
    """
    owners = settings.fleet.owners
    if not owners:
        raise ConfigurationError("owners is 0, but must be >= 1 for a fleet")
    check_files(settings)
    if settings.state.dir is None:
        raise ConfigurationError(
            "state must be given with owners: a folder or bucket that all of them can reach"
        )
    if settings.run.shards:
        raise ConfigurationError(f"shards is {settings.run.shards}, but must be 0 with owners")
    if settings.population.start:
        raise ConfigurationError(
            f"start is {str(settings.population.start)!r}, but must not be given with owners: a "
            "model file has no models of keys"
        )
    kafka = settings.source.kafka
    if kafka is not None and kafka.subscribe:
        raise ConfigurationError(
            f"owners is {owners}, but must be 0 with subscribe: the group assigns partitions"
        )
    for name in SENT_OUTPUTS if is_url(settings.state.dir) else ():
        url = getattr(settings.output, name)
        if url is not None and find_sink(url) is not None:
            raise ConfigurationError(
                f"{name} is {url!r}, but must be a file with owners and a state in a bucket: an "
                "owner that was suspended for so long that its state was taken over could still "
                "write there"
            )
    check_files(build_key_partition_settings(settings, 0))


@final
class FleetRun:
    """Divides the partitions of the keys of a stream among owners, and watches over them.

    A partition has its state and position in one checkpoint, and learns what it would learn alone:
    bits do not depend on the number of owners, on where they are, and on which of them die. What an
    owner had is taken over by its successor from the last checkpoints; the lock of each state
    directory, or in a bucket its epoch, sees to it that they never both write.

    Args:
        settings: Settings of the run, with `owners`.
        resume: Whether to resume from the states that are there; otherwise they are an error.
        say: Called with a sentence when an owner or a partition comes or goes.
        executor: Where the owners are; by default as the settings say.

    Raises:
        ConfigurationError: If a setting makes no sense for owners.
    """

    def __init__(
        self,
        settings: RunSettings,
        *,
        resume: bool = False,
        say: Callable[[str], object] = logger.info,
        executor: Executor | None = None,
    ) -> None:
        check_fleet(settings)
        self.settings = settings
        self.result: FleetResult | None = None
        self._resume = resume
        self._say = say
        self._given = executor
        self._owners: list[_OwnerHandle] = []
        self._free = set(range(settings.fleet.partitions))  # that nobody has
        self._begun: set[int] = set()  # that some owner had
        self._ended: dict[int, dict[str, dict[str, Any]]] = {}  # reports of those that are done
        self._most: dict[int, int] = {}  # samples of each partition, over all of its owners
        self._stopped = False

    def stop(self) -> None:
        """Learn what was read, and end."""
        self._stopped = True

    def list_owners(self) -> list[OwnerStatus]:
        """The owners with their partitions, as of their last answers."""
        return [owner.describe() for owner in self._owners]

    async def run(self) -> FleetResult:
        """Learn to the end, or until it is stopped.

        Raises:
            StreamnetError: Why a partition has failed, or no owner stays alive; what was learned
                is in the state.
        """
        fleet = self.settings.fleet
        executor = self._given or open_executor(fleet.owner_executor, fleet.owners)
        try:
            self._owners = [
                _OwnerHandle(executor, self.settings, number + 1, self._most)
                for number in range(fleet.owners)
            ]
            written = monotonic()
            while not self._is_done():
                for owner in self._owners:
                    self._look_after(owner)
                if not self._stopped:
                    self._assign()
                if monotonic() >= written + STATUS_SECONDS:
                    await anyio.to_thread.run_sync(self._write_status)
                    written = monotonic()
                await anyio.sleep(POLL_SECONDS)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._write_status)
                for owner in self._owners:
                    await anyio.to_thread.run_sync(owner.close)
                if self._given is None:
                    await anyio.to_thread.run_sync(executor.close)
        reports = {number: found for number, found in self._ended.items() if found}
        if not self._stopped and not any(_count(reports, "learned")):
            rejected = sum(_count(reports, "rejected"))
            raise DataError(
                f"nothing could be learned: all {rejected} records were rejected"
                if rejected
                else "the source holds no samples"
            )
        self.result = FleetResult(reports)
        return self.result

    def _write_status(self) -> None:
        """Write what the owners are doing, for `streamnet status`."""
        owners = tuple(self.list_owners())
        status = FleetStatus(time(), self.settings.fleet.partitions, owners)
        try:
            write_status(str(self.settings.state.dir), status)
        except StreamnetError as error:  # it is only for people
            logger.warning("%s", error)

    def _is_done(self) -> bool:
        """Whether all partitions have ended; of a run that is stopped, those that an owner has."""
        if self._stopped:
            return all(n in self._ended for owner in self._owners for n in owner.owned)
        return len(self._ended) == self.settings.fleet.partitions

    # ----------------------------------------------------------------------- owners

    def _look_after(self, owner: _OwnerHandle) -> None:
        """Take what an owner has answered, ask again, and replace it if it has died."""
        if self._stopped and not owner.owned:
            return
        try:
            for status in owner.poll():
                self._note(owner, status)
            if self._stopped:
                owner.give_up([n for n in owner.owned if n not in self._ended])
        except WorkerDiedError as error:
            left = [n for n in owner.owned if n not in self._ended]
            self._free.update(left)
            if self._stopped:
                owner.end()
                self._say(
                    f"owner {owner.number} died ({error}); with the next run, partitions "
                    f"{', '.join(map(str, left))} go on from their last checkpoints"
                )
                return
            owner.lose(error)
            logger.warning("owner %d died (%s) and is replaced", owner.number, error)
            self._say(f"owner {owner.number} died ({error})")

    def _note(self, owner: _OwnerHandle, status: PartitionStatus) -> None:
        """Take note of a partition that has failed, has ended, or was given up."""
        number = status.number
        if number not in owner.owned or number in self._ended:
            return
        if status.phase == "failed":
            raise DataError(f"partition {number}: {status.message}")
        if status.phase != "ended":
            return
        if number in owner.giving_up and not self._stopped:
            owner.drop(number)
            self._free.add(number)
            self._say(f"owner {owner.number} gave up partition {number}")
        elif (report := owner.fetch_report(number)) is not None:
            self._ended[number] = report

    def _assign(self) -> None:
        """Give partitions that nobody has to owners, each an equal share of all."""
        expected = [owner for owner in self._owners if owner.is_expected]
        if not any(owner.is_ready for owner in expected):
            return
        each, more = divmod(self.settings.fleet.partitions, len(expected))
        shares = [(owner, each + (place < more)) for place, owner in enumerate(expected)]
        ready = [(owner, share) for owner, share in shares if owner.is_ready]
        for owner, share in ready:
            if taken := sorted(self._free)[: max(0, share - len(owner.owned))]:
                self._free.difference_update(taken)
                owner.take(taken, [n for n in taken if self._resume or n in self._begun])
                self._begun.update(taken)
                self._say(f"owner {owner.number} takes partitions {', '.join(map(str, taken))}")
        if not self._free:
            # What is more than the share of an owner is for those that have less.
            lacking = sum(max(0, share - len(owner.owned)) for owner, share in ready)
            for owner, share in ready:
                count = min(len(owner.owned) - share, lacking)
                if count > 0 and not owner.giving_up:
                    lacking -= count
                    running = [n for n in owner.owned if n not in self._ended]
                    owner.give_up(running[-count:])


@final
class _OwnerHandle:
    """The driver's end of an owner, which replaces it when its process has died."""

    def __init__(
        self, executor: Executor, settings: RunSettings, number: int, most: dict[int, int]
    ) -> None:
        self.number = number
        self.owned: list[int] = []
        self.giving_up: set[int] = set()
        self.is_ready = False
        self._executor, self._settings = executor, settings
        self._actor: Actor | None = None
        self._asked: Future[Any] | None = None
        self._others: list[Future[Any]] = []  # calls whose results only matter if they fail
        self._reports: dict[int, Future[Any]] = {}
        self._partitions: tuple[PartitionStatus, ...] = ()
        self._replaced = self._deaths = 0
        self._most = most  # samples of each partition, whoever learned them
        self._due = 0.0  # when it may be started again
        self._since = monotonic()  # of the last call, or of the start
        self._start()

    @property
    def is_expected(self) -> bool:
        """Whether it is ready, or should be soon."""
        is_starting = self._actor is not None and monotonic() < self._since + START_SECONDS
        return self.is_ready or is_starting

    def _start(self) -> None:
        self._since = monotonic()
        try:
            self._actor = self._executor.host(Owner, self._settings)
        except ConfigurationError as error:
            if not self._replaced:
                raise
            logger.warning("owner %d can't be replaced yet: %s", self.number, error)
            self._due = monotonic() + RETRY_SECONDS
        else:
            self._asked = self._actor.call("numerics")

    def poll(self) -> Iterator[PartitionStatus]:
        """Yield the statuses of a new answer, if there is one, and request the next ones.

        Raises:
            WorkerDiedError: If it has died, or does not answer.
        """
        if self._actor is None:
            if monotonic() >= self._due:
                self._start()
            return
        for future in (self._asked, *self._others, *self._reports.values()):
            if future is not None and future.done():
                future.result()
        self._others = [future for future in self._others if not future.done()]
        assert self._asked is not None
        if not self._asked.done():
            if self.is_ready and monotonic() > self._since + SILENT_SECONDS:
                raise WorkerDiedError(f"it has not answered for {SILENT_SECONDS:g} seconds")
            return
        answer = self._asked.result()
        if not self.is_ready:
            for difference in describe_differences(answer, numerics()):
                raise ConfigurationError(
                    f"owner {self.number} would compute other bits: {difference}"
                )
            self.is_ready = True
        else:
            self._partitions = tuple(PartitionStatus(*values) for values in answer)
            for one in self._partitions:
                if one.samples > self._most.get(one.number, 0):
                    self._most[one.number], self._deaths = one.samples, 0
            yield from self._partitions
        self._since = monotonic()
        self._asked = self._actor.call("list_partitions")

    def take(self, numbers: Sequence[int], resumed: Sequence[int]) -> None:
        """Let it learn partitions, of which some may have a state already."""
        assert self._actor is not None
        self.owned = sorted({*self.owned, *numbers})
        self._others.append(self._actor.call("take", list(numbers), list(resumed)))

    def give_up(self, numbers: Sequence[int]) -> None:
        """Let it give up partitions, unless it is doing so."""
        new = [number for number in numbers if number not in self.giving_up]
        if new and self._actor is not None:
            self.giving_up.update(new)
            self._others.append(self._actor.call("give_up", new))

    def drop(self, number: int) -> None:
        """Let go of a partition that it has given up."""
        assert self._actor is not None
        self.owned.remove(number)
        self.giving_up.discard(number)
        self._others.append(self._actor.call("forget", number))

    def fetch_report(self, number: int) -> dict[str, dict[str, Any]] | None:
        """The reports of a partition that has ended; None until they have come."""
        assert self._actor is not None
        if number not in self._reports:
            self._reports[number] = self._actor.call("report", number)
        future = self._reports[number]
        if not future.done():
            return None
        del self._reports[number]
        found: dict[str, dict[str, Any]] = future.result()
        return found

    def lose(self, error: WorkerDiedError) -> None:
        """Start another process in place of one that has died.

        Raises:
            DataError: If it dies again and again.
        """
        self._deaths += 1
        self._replaced += 1
        if self._deaths > MAX_DEATHS:
            raise DataError(f"owner {self.number} died {self._deaths} times in a row: {error}")
        self.end()
        self._start()

    def end(self) -> None:
        """End its process; it has no partition any more."""
        self.close()
        self.owned, self.giving_up, self.is_ready = [], set(), False
        self._others, self._reports, self._partitions = [], {}, ()

    def describe(self) -> OwnerStatus:
        """Its condition, as of its last answer."""
        known = {one.number: one for one in self._partitions}
        found = tuple(known.get(n) or PartitionStatus(n, "waiting") for n in self.owned)
        return OwnerStatus(self.number, self.is_ready, self._replaced, found)

    def close(self) -> None:
        """End its process."""
        if self._actor is not None:
            self._actor.close()
            self._actor = None


@with_settings(FleetSettings, without=["partition"])
def replay_fleet(
    *files: str | os.PathLike[str],
    target: str | Sequence[str] | None = None,
    config: str | os.PathLike[str] | None = None,
    state: str | os.PathLike[str] | None = None,
    resume: bool = False,
    **settings: Unpack[FleetKeywords],
) -> FleetResult:
    """Learn data files as a stream whose keys are divided among owners.

    Each of the ``partitions`` of the keys has a shared model, models of its keys, and a state
    directory in ``state``, and is learned as by `replay` with ``partition``: results depend neither
    on the number of ``owners`` nor on which of them die. Blocks until the end.

    Args:
        files: Files, as for `replay`.
        target: Column to predict.
        config: A run file, whose values the other arguments override.
        state: Directory for the states of the partitions, which all owners can reach.
        resume: Resume the run whose states are there; without it, existing ones are an error.
        settings: Those of `replay`, with ``key``.

    Raises:
        ConfigurationError: If a setting is unknown, breaks its rule, or makes no sense for owners.
        DataError: If a partition fails, or owners die again and again.
    """
    given = {"target": target, "state": state, **settings}
    merged = merge_settings(files, config, given, "replay_fleet()", ["config", "resume"])
    run = FleetRun(merged, resume=resume)
    with start_blocking_portal() as portal:
        return portal.call(run.run)
