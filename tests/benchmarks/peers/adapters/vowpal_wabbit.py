"""Vowpal Wabbit with a hidden layer, in its own text format; sizes and rates are tuned.

It scales inputs itself, but learns far better from inputs that are centred too (letter, first
5,000: 57 % against 36 %), so it gets them standardized by what had been seen up to each sample.
"""

from __future__ import annotations

from functools import partial

from tests.benchmarks.peers.peer import BOTH, Answers, Learn, Peer, Prepared
from tests.benchmarks.peers.rows import Rows
from tests.benchmarks.peers.scales import RunningScale, running_standardized
from tests.benchmarks.peers.tuning import tuned
from tests.benchmarks.peers.views import matrix, words_of

__all__ = ("PEERS", "lines_of")

# --power_t 0 keeps the learning rate from falling, which suits drift.
_SETTINGS = tuple(
    f"--nn {hidden} -l {rate} --power_t {power}"
    for hidden in (5, 20)
    for rate in (0.05, 0.2, 0.5, 2, 8)
    for power in (0.5, 0)
)


def lines_of(rows: Rows) -> list[str]:
    """Samples as lines that start with the target: a class counted from 1, or a scaled number."""
    if rows.classification:
        lines = [f"{target + 1} |" for target in rows.target.tolist()]
    else:
        lines = [f"{y:.7g} |" for y in RunningScale.of(rows.target).scaled(rows.target).tolist()]
    if rows.numbers or rows.words:
        inputs = running_standardized(matrix(rows._replace(texts={}), 0)[0])
        for i, row in enumerate(inputs.tolist()):
            lines[i] += "".join(f" {j}:{x:.6g}" for j, x in enumerate(row) if x)
    for texts in rows.texts.values():
        for i, text in enumerate(texts):
            lines[i] += "".join(f" {word}" for word in words_of(text))
    return lines


def _learn(rows: Rows, setting: str, seed: int) -> Learn:
    from vowpalwabbit import pyvw

    lines = lines_of(rows)
    task = f"--oaa {len(rows.labels)}" if rows.classification else ""
    vw = pyvw.Workspace(f"{task} {setting} --inpass --random_seed {seed + 1} --quiet")
    kind = vw.get_prediction_type()

    def learn() -> Answers:
        answers = []
        for line in lines:
            example = vw.parse(line)
            vw.learn(example)  # predicts first: its progressive validation
            answers.append(example.get_prediction(kind))
            vw.finish_example(example)
        vw.finish()
        if rows.classification:
            return [label - 1 for label in answers]
        return list(RunningScale.of(rows.target).restored(answers))

    return learn


def _prepare(rows: Rows, seed: int) -> Prepared:
    return tuned(rows, _SETTINGS, partial(_learn, seed=seed))


PEERS = (Peer("vw-nn", "vowpalwabbit", BOTH, random=True, prepare=_prepare),)
