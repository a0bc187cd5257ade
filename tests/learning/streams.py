"""Made-up streams and learners for the tests of learning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from streamnet.learning.learner import Learner
from streamnet.learning.serving import Served
from streamnet.pipeline.reader import BlockSplitter
from streamnet.samples import Block, DeadLetter, Field, Kind, Schema, Task
from streamnet.settings.candidate import CandidateSettings

__all__ = (
    "ROUND",
    "candidate",
    "differences",
    "feed",
    "learner_of",
    "state_of",
    "stream",
    "unscored",
)

ROUND = 64
FIELDS = (Field("a", Kind.NUMBER), Field("b", Kind.NUMBER), Field("w", Kind.CATEGORY))


def candidate(**settings: Any) -> CandidateSettings:
    """A small candidate."""
    return CandidateSettings(**{"hidden": (8,), **settings})


def stream(
    task: Task, n: int = 400, *, seed: int = 3, classes: int = 5, gaps: bool = True
) -> Block:
    """Samples that can be learned; classes appear one by one, some values and targets are missing.

    A record in seven was rejected by the source.
    """
    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=(n, 2))
    words = np.array([f"w{i}" for i in rng.integers(0, 6, n)], object)
    score = np.abs(2.0 * numbers[:, 0] + (words == "w3"))
    target: NDArray[Any] = 100.0 + 5.0 * score
    if task is Task.CLASSIFICATION:
        label = np.minimum(score.astype(int), np.arange(n) * classes // n)
        target = np.array([f"c{i}" for i in label], object)
    if gaps:
        numbers[rng.random(n) < 0.05, 1] = np.nan
        words[rng.random(n) < 0.05] = None
        target[rng.random(n) < 0.05] = np.nan if task is Task.REGRESSION else None
    records = np.flatnonzero(np.arange(2 * n) % 7 != 5)[: n + 1]
    marks = np.stack((10 * records, records, records + 1), axis=1)
    bad = sorted(set(range(int(records[-1]))) - set(records.tolist()))
    letters = tuple(
        DeadLetter("s.csv", 10 * i, i + 1, "arity", "one field too many", f"record {i}")
        for i in bad
    )
    schema = Schema(FIELDS, "y", task)
    return Block(schema, "s.csv", numbers, (words,), target, marks, rejected=letters)


def learner_of(
    task: Task, candidates: Sequence[CandidateSettings] | None = None, **settings: Any
) -> Learner:
    """A learner of a few small candidates, one for each optimizer, some with rehearsal."""
    if candidates is None:
        candidates = (
            candidate(optimizer="sgd", learning_rate=0.05),
            candidate(optimizer="momentum", learning_rate=0.02, hidden=(8, 5), clip=1.0),
            candidate(optimizer="rmsprop", rehearsal=2, memory=50),
            candidate(optimizer="adagrad", learning_rate=0.1, hidden=()),
            candidate(optimizer="adam", rehearsal=1, memory=7, activation="relu"),
        )
    return Learner(task=task, candidates=candidates, **{"window": 50, "seed": 4} | settings)


def feed(
    learner: Learner,
    block: Block,
    sizes: Sequence[int] = (1000,),
    *,
    cutter: BlockSplitter | None = None,
) -> Iterator[Served]:
    """Let a learner take a block in pieces of the given sizes, over and over."""
    cutter = cutter or BlockSplitter(block_size=10_000, round_size=ROUND, late_labels=True)
    start, turn = 0, 0
    while start < len(block):
        stop = min(len(block), start + sizes[turn % len(sizes)])
        for arrival in cutter.cut(block.part(start, stop)):
            yield learner.learn(arrival.block, ends_round=arrival.ends_round)
        start, turn = stop, turn + 1


def differences(state: Any, other: Any, path: str = "") -> list[str]:
    """Where two states differ by a bit."""
    if isinstance(state, dict) and isinstance(other, dict):
        names = sorted({*state, *other})
        return [
            found
            for name in names
            for found in differences(state.get(name), other.get(name), f"{path}/{name}")
        ]
    if isinstance(state, np.ndarray) and isinstance(other, np.ndarray):
        same = state.dtype == other.dtype and state.shape == other.shape
        return [] if same and state.tobytes() == other.tobytes() else [path]
    sequences = isinstance(state, list | tuple) and type(state) is type(other)
    if sequences and len(state) == len(other):
        pairs = zip(state, other, strict=True)
        return [f for i, (a, b) in enumerate(pairs) for f in differences(a, b, f"{path}/{i}")]
    return [] if repr(state) == repr(other) else [path]


def unscored(block: Block) -> Block:
    """The same block as a later epoch gives it."""
    return replace(block, scored=False, rejected=())


def state_of(learner: Learner) -> dict[str, Any]:
    """The learner's state, with zeros where rehearsal's memory has no entry.

    What once was in those places is never read, but depends on how blocks were cut.
    """
    state = learner.export_state()
    memory = state["trainer"]["population"]["memory"]
    used = np.arange(memory["row"].shape[1]) < memory["count"][:, None]
    for name in ("row", "value"):
        memory[name] = np.where(used, memory[name], 0)
    return state
