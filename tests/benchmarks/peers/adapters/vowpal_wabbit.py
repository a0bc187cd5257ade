"""Vowpal Wabbit with a hidden layer, in its own text format; learning rates are tuned."""

from __future__ import annotations

from functools import partial

from tests.benchmarks.peers.peer import BOTH
from tests.benchmarks.peers.peer import Answers
from tests.benchmarks.peers.peer import Learn
from tests.benchmarks.peers.peer import Peer
from tests.benchmarks.peers.peer import Prepared
from tests.benchmarks.peers.rows import Rows
from tests.benchmarks.peers.tuning import tuned
from tests.benchmarks.peers.views import words_of

__all__ = ("PEERS", "lines_of")

# --power_t 0 keeps the learning rate from falling, which suits drift.
_SETTINGS = tuple(
    f"--nn {hidden} -l {rate} --power_t {power}"
    for hidden in (5, 20)
    for rate in (0.05, 0.2, 0.5, 2)
    for power in (0.5, 0)
)


def lines_of(rows: Rows) -> list[str]:
    """Samples as lines that start with the target; classes count from 1."""
    parts: list[list[str]] = []
    for i, (name, values) in enumerate(rows.numbers.items()):
        mark = f"{i}=" if name in rows.stream.codes else f"{i}:"
        parts.append([f"{mark}{value:.9g}" for value in values.tolist()])
    for i, column in enumerate(rows.words.values()):
        index = {word: code for code, word in enumerate(sorted(set(column)))}
        parts.append([f"w{i}={index[word]}" for word in column])
    parts += [[" ".join(words_of(text)) for text in texts] for texts in rows.texts.values()]
    shift = 1 if rows.classification else 0
    targets = [f"{target + shift} |" for target in rows.target.tolist()]
    return list(map(" ".join, zip(targets, *parts, strict=True)))


def _learn(rows: Rows, setting: str, seed: int) -> Learn:
    from vowpalwabbit import pyvw

    lines = lines_of(rows)
    task = f"--oaa {len(rows.labels)}" if rows.classification else ""
    vw = pyvw.Workspace(f"{task} {setting} --inpass --random_seed {seed + 1} --quiet")
    kind = vw.get_prediction_type()
    shift = 1 if rows.classification else 0

    def learn() -> Answers:
        answers = []
        for line in lines:
            example = vw.parse(line)
            vw.learn(example)  # predicts first: its progressive validation
            answers.append(example.get_prediction(kind) - shift)
            vw.finish_example(example)
        vw.finish()
        return answers

    return learn


def _prepare(rows: Rows, seed: int) -> Prepared:
    return tuned(rows, _SETTINGS, partial(_learn, seed=seed))


PEERS = (Peer("vw-nn", "vowpalwabbit", BOTH, random=True, prepare=_prepare),)
