"""Vowpal Wabbit with a hidden layer, and with crosses, in its own text format; rates are tuned.

It scales inputs itself, but learns far better from inputs that are centred too (letter, first
5,000: 57 % against 36 %), so it gets them standardized by what had been seen up to each sample.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from tests.benchmarks.peers.peer import BOTH, Answers, Learn, Peer, Prepared
from tests.benchmarks.peers.rows import Rows
from tests.benchmarks.peers.scales import RunningScale, running_standardized
from tests.benchmarks.peers.tuning import HEAD, tuned
from tests.benchmarks.peers.views import matrix, tokens, words_of

__all__ = ("PEERS", "lines_of", "lines_of_tokens")

# --power_t 0 keeps the learning rate from falling, which suits drift.
_SETTINGS = tuple(
    f"--nn {hidden} -l {rate} --power_t {power}"
    for hidden in (5, 20)
    for rate in (0.05, 0.2, 0.5, 2, 8)
    for power in (0.5, 0)
)
_CROSSES = tuple(
    f"-q :: -l {rate} --power_t {power}" for rate in (0.05, 0.2, 0.5, 2) for power in (0.5, 0)
)
_FTRL = tuple(
    f"{crosses}--ftrl --ftrl_alpha {alpha}"
    for crosses in ("", "-q :: ")
    for alpha in (0.005, 0.02, 0.1, 0.5)
)
_MOST_CROSSED = 60  # inputs of a sample; more make thousands of pairs


def _targets(rows: Rows) -> list[str]:
    if rows.classification:
        return [f"{target + 1} |" for target in rows.target.tolist()]
    return [f"{y:.7g} |" for y in RunningScale.of(rows.target).scaled(rows.target).tolist()]


def lines_of(rows: Rows) -> list[str]:
    """Samples as lines that start with the target: a class counted from 1, or a scaled number."""
    lines = _targets(rows)
    if rows.numbers or rows.words:
        inputs = running_standardized(matrix(rows._replace(texts={}), 0)[0])
        for i, row in enumerate(inputs.tolist()):
            lines[i] += "".join(f" {j}:{x:.6g}" for j, x in enumerate(row) if x)
    for texts in rows.texts.values():
        for i, text in enumerate(texts):
            lines[i] += "".join(f" {word}" for word in words_of(text))
    return lines


def lines_of_tokens(rows: Rows) -> list[str]:
    """Likewise, but categories and codes as words, of which each column may have many."""
    numbers, found = tokens(rows)
    scaled = running_standardized(numbers).tolist() if numbers.size else [[]] * len(found)
    return [
        line
        + "".join(f" {j}:{x:.6g}" for j, x in enumerate(row) if x)
        + "".join(f" {w}" for w in own)
        for line, row, own in zip(_targets(rows), scaled, found, strict=True)
    ]


def _learn(rows: Rows, setting: str, seed: int, write: Callable[[Rows], list[str]]) -> Learn:
    from vowpalwabbit import pyvw

    lines = write(rows)
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


def _prepare_network(rows: Rows, seed: int) -> Prepared:
    return tuned(rows, _SETTINGS, partial(_learn, seed=seed, write=lines_of))


def _prepare_linear(settings: Sequence[str]) -> Callable[[Rows, int], Prepared]:
    def prepare(rows: Rows, _: int) -> Prepared:
        wide = max(line.count(" ") for line in lines_of_tokens(rows.head(HEAD))) > _MOST_CROSSED
        chosen = [setting.replace("-q :: ", "") if wide else setting for setting in settings]
        learn = partial(_learn, seed=0, write=lines_of_tokens)
        return tuned(rows, dict.fromkeys(chosen), learn)

    return prepare


_LINEAR = {"crosses": _CROSSES, "ftrl": _FTRL}
PEERS = (
    Peer("vw-nn", "vowpalwabbit", BOTH, random=True, prepare=_prepare_network),
    *(
        Peer(f"vw-{name}", "vowpalwabbit", BOTH, random=False, prepare=_prepare_linear(settings))
        for name, settings in _LINEAR.items()
    ),
)
