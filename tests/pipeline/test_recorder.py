"""The ledger notes what happened in the order of the stream, however records came in blocks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from msgspec import structs
from msgspec.structs import replace

from streamnet.durability.provenance import Ledger
from streamnet.learning.learner import Learner
from streamnet.networks.population import Member
from streamnet.pipeline.recorder import Record
from streamnet.pipeline.rejections import Rejections
from streamnet.samples import Block, DeadLetter, Field, Kind, Schema, Task
from streamnet.settings.candidate import CandidateSettings

SCHEMA = Schema((Field("x", Kind.NUMBER),), "y", Task.CLASSIFICATION)


def block_of(source: str, samples: Sequence[int], end: int) -> Block:
    """Samples that start at these offsets of a file."""
    offsets = [*samples, end]
    labels = np.array(["a", "b"] * len(samples), object)[: len(samples)]
    marks = np.array([[10 * at, at, at + 1] for at in offsets])
    return Block(SCHEMA, source, np.ones((len(samples), 1)), (), labels, marks)


def letter(source: str, at: int) -> DeadLetter:
    return DeadLetter(source, 10 * at, at + 1, "arity", "broken", "raw")


def ledger_of(blocks: Sequence[Block], joins: int) -> str:
    """What is noted of blocks; with sample ``joins`` a candidate comes."""
    learner = Learner(task=Task.CLASSIFICATION, candidates=[CandidateSettings(hidden=(2,))])
    recorder = Record(Rejections(share=1.0), [], Ledger())
    assert recorder.ledger is not None
    for block in blocks:
        served = learner.learn(block)
        first = served.predicted.first
        newcomer = (0, Member(CandidateSettings(), 7, joins))
        comes = len(block) and first == joins
        predicted = structs.replace(served.predicted, joined=(newcomer,) if comes else ())
        recorder.write(served._replace(predicted=predicted))
    return recorder.ledger.value()


@pytest.mark.parametrize("files", [("s.csv", "s.csv"), ("s.csv", "t.csv")])
def test_records_rejected_between_two_blocks_may_arrive_with_either_or_alone(
    files: tuple[str, str],
) -> None:
    one, two = files
    # In the second file, offsets begin anew.
    start = 5 if one == two else 0
    before = block_of(one, [0, 1, 2], 5)
    after = block_of(two, [start, start + 1], start + 3)
    within = letter(two, start + 2)
    after = replace(after, rejected=(within,))
    bad = (letter(one, 3), letter(one, 4))
    ways = [
        [replace(before, rejected=bad), after],
        [before, replace(after, rejected=(*bad, within))],
        [before, replace(before.part(3, 3), rejected=bad), after],
        [replace(before, rejected=bad[:1]), replace(after, rejected=(*bad[1:], within))],
    ]
    if one == two:
        ways.append([before, replace(after.part(0, 0), rejected=bad), after])
    values = {ledger_of(way, 3) for way in ways}
    assert len(values) == 1
    # It is another thing to be rejected behind who comes, or not at all.
    later = replace(after, rejected=(*bad[:1], letter(two, start + 1), within))
    others = [[before, later], [before, after]]
    assert values.isdisjoint({ledger_of(way, 3) for way in others})
    assert values.isdisjoint({ledger_of(ways[0], 99)})
