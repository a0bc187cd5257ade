"""Whatever happens to a run, in any order, it comes to what plain counting and one run say.

A machine feeds good and bad records, new classes and monstrous numbers to a run on a disk in
memory, which is stopped, killed, given other settings, filled up, corrupted and rolled back in
between. Candidates explode where it likes; in every history one does, and the one after it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from streamnet.durability.files import FileSystem
from streamnet.durability.state_directory import MIN_GENERATIONS, StateDirectory
from streamnet.errors import ConfigurationError, DamagedStateError, StreamnetError
from streamnet.features.encoder import Encoded
from streamnet.learning.learner import Learner
from streamnet.learning.serving import Served
from streamnet.learning.trainer import Job, Trainer
from streamnet.pipeline import Pipeline
from streamnet.pipeline import state as state_module
from streamnet.pipeline import state as store
from streamnet.pipeline.maintenance import roll_back
from streamnet.pipeline.outputs import Sink
from streamnet.samples import Block, DeadLetter, Field, Kind, Schema, Task
from tests.conftest import Counted
from tests.durability.disks import Faulty, Killed, Memory, disk_after
from tests.pipeline.block_sources import ROUND, Playing, checksum, in_loop, plain
from tests.pipeline.interrupted_runs import go, made

FOLDER = Path("/tmp")  # a name only: nothing is written there
SCHEMA = Schema((Field("x", Kind.NUMBER), Field("z", Kind.NUMBER)), "y", Task.CLASSIFICATION)
REPLACED = 3  # rounds after that of an explosion another candidate has learned
CLASSES = 4  # that are learned
MOST_CLASSES = 6  # with many more, most records would be refused, and end a run
HUGE = (1e38, -1e300, 5e-324, 0.0, 1e6)

Record = tuple[float, str] | None  # a number and its label, or a record that is broken


class Explosion(NamedTuple):
    """A candidate that is to explode when a round begins."""

    round: int
    slot: int


def block_of(records: tuple[Record, ...]) -> Block:
    """The records as a source would give them."""
    good = [(i, record) for i, record in enumerate(records) if record is not None]
    numbers = np.array([[x, x / 2] for _, (x, _) in good], np.float64).reshape(-1, 2)
    places = np.array([*(i for i, _ in good), len(records)], np.int64)
    bad = [i for i, record in enumerate(records) if record is None]
    letters = tuple(DeadLetter("s.csv", 10 * i, i + 1, "arity", "broken", "raw") for i in bad)
    labels = np.array([label for _, (_, label) in good], object)
    marks = np.stack((10 * places, places, places + 1), axis=1)
    return Block(SCHEMA, "s.csv", numbers, (), labels, marks, rejected=letters)


def pipeline_on(
    files: FileSystem, records: tuple[Record, ...], explosions: tuple[Explosion, ...], pace: int
) -> Pipeline:
    source = Playing(block_of(records), seed=pace, largest=1 + pace % 100)
    state = {"every_samples": 64, "files": files}
    pipeline = made(FOLDER, Task.CLASSIFICATION, source=source, state=state, threads=1)
    (run,) = pipeline.parts.values()
    prepare = run.prepare

    def explosive(learner: Learner, schema: Schema) -> Sequence[Sink]:
        explode(learner.trainer, explosions)
        return prepare(learner, schema) if prepare else ()

    run.prepare = explosive
    return pipeline


def explode(trainer: Trainer, explosions: tuple[Explosion, ...]) -> None:
    """Let candidates lose all their weights at the beginnings of rounds."""

    def begin(encoded: Encoded, threads: int = 1, ends_round: bool = False) -> Job:
        starts = trainer._at_start and len(encoded.block)
        job = real(encoded, threads, ends_round)
        for explosion in explosions:
            if starts and explosion.round == trainer.round:
                for _, arrays in trainer.population._matrices(explosion.slot):
                    arrays[0][:] = np.nan
        return job

    real = trainer.begin
    trainer.begin = begin  # type: ignore[method-assign]


def during(pipeline: Pipeline, number: int, action: Callable[[], None]) -> None:
    """Do something once, in the event loop, when sample ``number`` has been served."""
    done: list[int] = []

    def sink(served: Served) -> None:
        if not done and served.predicted.first + len(served.serials) > number:
            done.append(number)
            in_loop(action)

    pipeline.sinks.append(sink)


def left(disk: Memory, pipeline: Pipeline) -> dict[str, Any]:
    result = pipeline.result()
    loaded = StateDirectory(FOLDER / "state", files=disk).generations.newest()
    assert loaded is not None
    return {
        "model": checksum(result.model),
        "report": plain(result.report),
        "predictions": disk.read(FOLDER / "predictions.csv"),
        "letters": disk.read(FOLDER / "rejected.jsonl") if result.report["rejected"] else b"",
        "ledger": loaded.tree["ledger"]["value"],
    }


@lru_cache(maxsize=200)
def expected(records: tuple[Record, ...], explosions: tuple[Explosion, ...]) -> dict[str, Any]:
    """What one uninterrupted run over all records leaves."""
    disk = Memory()
    pipeline = pipeline_on(disk, records, explosions, 50)
    go(pipeline)
    return left(disk, pipeline)


class Machine(RuleBasedStateMachine):
    """A run, its disk, and the records that its source holds so far."""

    histories = 0  # that were lived through

    def __init__(self) -> None:
        super().__init__()
        self.disk = Memory()
        self.records: list[Record] = []
        self.explosions: list[Explosion] = []
        self.classes = 2
        self.pace = 0
        self.found: dict[str, Any] | None = None
        self._feed(40)

    def _feed(self, n: int) -> None:
        for i in range(len(self.records), len(self.records) + n):
            x = (i * 37 % 101) / 50.0 - 1.0
            self.records.append((x, f"c{int((x + 1) / 2.02 * self.classes)}"))

    def _run(self, files: FileSystem) -> None:
        pipeline = self._pipeline(files)
        go(pipeline)
        self.found = left(self.disk, pipeline)

    def _pipeline(self, files: FileSystem) -> Pipeline:
        self.pace += 1
        self.found = None
        return pipeline_on(files, tuple(self.records), tuple(self.explosions), self.pace)

    def _learned(self) -> list[int]:
        """How many samples were learned before each good record, and in all.

        Those of too many classes are refused within the rounds that they are part of.
        """
        labels = [record[1] for record in self.records if record is not None]
        known = list(dict.fromkeys(labels))[:CLASSES]
        return [0, *accumulate(label in known for label in labels)]

    def _good(self) -> int:
        return sum(record is not None for record in self.records)

    @rule(n=st.integers(1, 150))
    def feed(self, n: int) -> None:
        self._feed(n)

    @rule(n=st.integers(1, 5))
    def poison(self, n: int) -> None:
        self.records += [None] * n

    @rule()
    @precondition(lambda self: self.classes < MOST_CLASSES)
    def a_new_class(self) -> None:
        self.classes += 1
        self._feed(20)

    @rule(x=st.sampled_from(HUGE))
    def a_monstrous_number(self, x: float) -> None:
        self.records.append((x, "c0"))
        self._feed(10)

    @rule(slot=st.integers(0, 2), rounds=st.integers(0, REPLACED + 1))
    def explode_a_candidate(self, slot: int, rounds: int) -> None:
        """When the next round begins, and then this many whole ones come."""
        soonest = self._good() // ROUND + 1  # no run was there
        if self.explosions and self.explosions[-1].round + REPLACED > soonest:
            return  # it would hit who takes the place of the last one, or leave nobody
        self.explosions.append(Explosion(soonest, slot))
        self._feed(ROUND * (rounds + 1))

    @rule()
    def run_to_the_end(self) -> None:
        self._run(self.disk)

    @rule(share=st.floats(0, 1))
    def stop_with_a_checkpoint(self, share: float) -> None:
        pipeline = self._pipeline(self.disk)
        during(pipeline, int(share * self._good()), pipeline.stop)
        go(pipeline)
        loaded = StateDirectory(FOLDER / "state", files=self.disk).generations.newest()
        assert loaded is not None
        assert pipeline.learner is not None
        learned, rejected = pipeline.learner.trainer.number, pipeline.rejections.total
        assert loaded.tree["learner"]["trainer"]["number"] == learned
        assert loaded.tree["reading"]["records"] == learned + rejected

    @rule(share=st.floats(0, 1), every=st.integers(1, 200), kept=st.integers(1, 6))
    def reload(self, share: float, every: int, kept: int) -> None:
        """Take over other settings in the middle, or refuse them if they break a rule."""
        pipeline = self._pipeline(self.disk)
        state = pipeline.state
        assert state is not None

        def change() -> None:
            before = state.cadence.every_samples, state.folder.generations.keep
            try:
                state.change(every_samples=every, every_seconds=None, generations=kept)
            except ConfigurationError:
                assert kept < MIN_GENERATIONS
                assert (state.cadence.every_samples, state.folder.generations.keep) == before
            else:
                assert (state.cadence.every_samples, state.folder.generations.keep) == (every, kept)

        during(pipeline, int(share * self._good()), change)
        go(pipeline)
        self.found = left(self.disk, pipeline)

    @rule(at=st.integers(0, 60), fault=st.sampled_from(["kill", "torn"]))
    def crash(self, at: int, fault: str) -> None:
        try:
            self._run(Faulty(self.disk, at, fault))
        except Killed:
            self.disk = disk_after(self.disk)
            self.found = None

    @rule(at=st.integers(0, 60), times=st.integers(1, 40), fault=st.sampled_from(["ENOSPC", "EIO"]))
    def a_disk_that_fails(self, at: int, times: int, fault: str) -> None:
        try:
            self._run(Faulty(self.disk, at, fault, times=times))
        except StreamnetError:
            self.disk = disk_after(self.disk)
        self.found = None  # the last checkpoint may be missing: the next run tells

    # How many generations there are, and where in the run each was cut, may differ from time to
    # time, so that nothing that is drawn depends on it.

    @rule(place=st.integers(0, 2**40))
    def corrupt_the_newest(self, place: int) -> None:
        generations = StateDirectory(FOLDER / "state", files=self.disk).generations
        numbers = generations.numbers()
        if len(numbers) < 2:
            return
        try:
            generations.load(numbers[-2])
        except DamagedStateError:
            return  # one that is sound must stay
        newest = generations.folder / f"{numbers[-1]:012d}.checkpoint"
        content = bytearray(self.disk.read(newest))
        place %= 8 * len(content)
        content[place // 8] ^= 1 << place % 8
        self.disk.names_seen[newest].seen = bytes(content)
        self.found = None

    @rule(which=st.integers(0, 2**40))
    def roll_back(self, which: int) -> None:
        numbers = StateDirectory(FOLDER / "state", files=self.disk).generations.numbers()
        if not numbers:
            return
        with suppress(DamagedStateError):  # it may be the one that was corrupted
            roll_back(FOLDER / "state", numbers[which % len(numbers)], files=self.disk)
        self.found = None

    @invariant()
    def a_run_that_ended_is_what_one_run_and_plain_counting_say(self) -> None:
        if self.found is None:
            return
        assert self.found == expected(tuple(self.records), tuple(self.explosions))
        report = self.found["report"]
        broken = sum(record is None for record in self.records)
        classes = len({record[1] for record in self.records if record is not None})
        assert report["samples"] == len(self.records)
        assert report["rejected_reasons"].get("arity", 0) == broken
        assert report["learned"] + report["rejected"] == report["samples"]
        assert report["encoder"]["classes"] == min(classes, CLASSES)
        assert report["champion"] is not None
        self._check_explosions(report)
        self.found = None  # once is enough

    def _check_explosions(self, report: dict[str, Any]) -> None:
        """Who explodes is quarantined, makes room two rounds later, and who comes learns."""
        rounds = (report["learned"] - 1) // ROUND  # so many have begun, the first left out
        exploded = sum(explosion.round <= rounds for explosion in self.explosions)
        # One candidate has a rate that it can't outlive, nor can the first that replaces it.
        by_itself = min(2, report["learned"] // (4 * ROUND))
        assert report["quarantines"] >= by_itself + exploded
        rows = report["candidates"]
        gone = sum(row["quarantined"] for row in rows if "left" in row)
        replaced = [e for e in self.explosions if e.round + REPLACED <= rounds]
        assert gone >= len(replaced)
        learned = self._learned()
        assert learned[-1] == report["learned"]
        for explosion in replaced:
            since = [row for row in rows if row["born"] > learned[explosion.round * ROUND]]
            assert any("left" in row or row["loss"] is not None for row in since)

    def teardown(self) -> None:
        Machine.histories += 1
        self._run(self.disk)
        self.a_run_that_ended_is_what_one_run_and_plain_counting_say()


@pytest.fixture(autouse=True)
def _quickly_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_MIN_RETRY_SECONDS", 0.0)
    monkeypatch.setattr(state_module, "_FINAL_RETRY_SECONDS", 0.0)


def tried(examples: int, steps: int) -> int:
    """Live through so many histories, or more; how many."""
    Machine.histories = 0
    some = settings(max_examples=examples, stateful_step_count=steps, deadline=None)
    run_state_machine_as_test(Machine, settings=some)
    return Machine.histories


@pytest.mark.timeout(300)
@pytest.mark.no_cover
def test_whatever_happens_a_run_comes_to_the_same(counted: Counted) -> None:
    counted("histories", tried(25, 12))


@pytest.mark.parametrize("more", [0, 10])
def test_records_rejected_between_two_rounds_begin_none(more: int) -> None:
    """A file that ended with a round has grown: who replaces a candidate comes with a sample."""
    machine = Machine()
    machine.explode_a_candidate(slot=0, rounds=0)  # in round 1, so another comes in round 3
    machine.feed(3 * ROUND - machine._good())
    machine.run_to_the_end()
    machine.poison(5)
    machine.feed(more)
    machine.teardown()
    assert [e.round for e in machine.explosions] == [1]


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_whatever_happens_a_run_comes_to_the_same_at_length(counted: Counted) -> None:
    counted("histories", tried(600, 50))
