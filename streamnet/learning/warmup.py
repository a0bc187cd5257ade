"""Warm-up: compile the kernels, or load them from disk, before the first sample comes."""

from __future__ import annotations

from collections.abc import Collection
from threading import Lock
from typing import Any

import numpy as np

from streamnet.evaluation import ADWIN
from streamnet.features.settings import is_raw
from streamnet.jit import was_compiled
from streamnet.learning.compiling import Helper
from streamnet.learning.compiling import processors
from streamnet.learning.learner import Learner
from streamnet.networks.candidate import CandidateSettings
from streamnet.networks.kernels import learn
from streamnet.networks.population import Population
from streamnet.samples import Block
from streamnet.samples import Field
from streamnet.samples import Inputs
from streamnet.samples import Kind
from streamnet.samples import Schema
from streamnet.samples import Task

__all__ = ("compile_ahead", "never_compiled", "warm_up")

_ONE = Lock()  # several models of a daemon start at a time, and the first one compiles for all


def warm_up(
    task: Task,
    dtype: str = "float32",
    encoder: dict[str, Any] | None = None,
    *,
    kinds: Collection[Kind] = (),
    ahead: Helper | None = None,
) -> bool:
    """Take a few made-up samples through every stage: seconds at first, then a fraction of one.

    The kernel that learns takes longer to compile than all others. The first time of all another
    process compiles it meanwhile, if there is a processor for it.

    Args:
        task: Classification or regression.
        dtype: Of the networks.
        encoder: Settings of the encoder.
        kinds: Of the columns, besides numbers and categories.
        ahead: What `compile_ahead` began, whoever ends it.

    Returns:
        True: kernels are ready.
    """
    with _ONE:
        helper = compile_ahead(dtype) if ahead is None else ahead
        if helper is not None:
            try:
                _take_through(task, dtype, encoder, kinds, learns=False)
                helper.wait()
            finally:
                if ahead is None:
                    helper.end()
        _take_through(task, dtype, encoder, kinds, learns=True)
    return True


def compile_ahead(dtype: str = "float32") -> Helper | None:
    """Begin with the kernel that learns, in another process, while it is yet to be known what.

    None where it was compiled before, or where there is one processor alone.
    """
    return Helper(_learn_alone, dtype) if never_compiled() and processors() > 1 else None


def never_compiled() -> bool:
    """Whether the kernel that learns, which takes longest, is yet to be compiled."""
    return not was_compiled(learn)


def _take_through(
    task: Task,
    dtype: str,
    encoder: dict[str, Any] | None,
    kinds: Collection[Kind],
    *,
    learns: bool,
) -> None:
    """Take samples through every stage; without ``learns`` the answers are made up as well."""
    learner = Learner(task=task, candidates=_candidates(encoder), dtype=dtype, encoder=encoder)
    trainer = learner.trainer
    encoded = learner.encoder.encode(_block(task, kinds))
    job = trainer.begin(encoded)
    if learns:
        trainer.run(job)
    else:
        job.answers.outputs.fill(0.5)
        job.answers.alive.fill(1)
    scored = trainer.finish(encoded, job, learner.encoder.snapshot())
    learner.server.serve(learner.evaluator.evaluate(scored))
    learner.model()
    ADWIN().update(np.repeat([0.0, 1.0], 100))  # until it forgets


def _learn_alone(dtype: str) -> None:
    """Learn a sample without any of the other stages; kernels are the same for both tasks."""
    task = Task.CLASSIFICATION
    settings = [candidate.suited_to(task) for candidate in _candidates(None)]
    population = Population(settings, task=task, dtype=dtype)
    one, nothing = np.zeros((1, 1)), np.zeros((1, 1), np.int32)
    inputs = Inputs(one.astype(np.float32), nothing, one.astype(np.float32), nothing[0], 1, 1)
    answers = population.prepare(0, inputs, nothing[0], one[0], 2)
    population.run(0, np.array([2], np.int32), answers)


def _candidates(encoder: dict[str, Any] | None) -> list[CandidateSettings]:
    transform = "none" if is_raw(encoder) else "log"
    return [
        # A layer that fills whole vectors, and one that does not: these are kernels of their own.
        CandidateSettings(hidden=(16,), lags=True),
        CandidateSettings(hidden=(4,), target_transform=transform),
    ]


def _block(task: Task, kinds: Collection[Kind]) -> Block:
    """Two samples with a column of each kind."""
    fields = [
        Field(str(kind), kind) for kind in dict.fromkeys((Kind.NUMBER, Kind.CATEGORY, *kinds))
    ]
    schema = Schema(tuple(fields), "y", task)
    target = np.array([0.0, 1.0]) if task is Task.REGRESSION else np.array(["a", "b"], object)
    return Block(
        schema,
        "warm-up",
        np.array([[0.0] * len(schema.numbers), [1.0] * len(schema.numbers)]),
        tuple(np.array(["u", "v"], object) for _ in schema.words),
        target,
        np.zeros((3, 3), np.int64),
    )
