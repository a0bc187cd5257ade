"""Labels that come after later samples: against plain Python, and at once nothing changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from streamnet.samples import Task, Timeline
from streamnet.selection.ensemble.labels import LabelEnsemble, share_pool
from streamnet.selection.ensemble.numbers import NumberEnsemble
from streamnet.selection.ensemble.registry import Ensemble, restore_ensemble
from tests.learning.streams import differences
from tests.selection.ensemble.answers import Said, ask, ensemble_of, said, serve
from tests.selection.ensemble.naive import NaiveLabels, NaiveNumbers

N = 300
TASKS = list(Task)


def order_rows(stream: Said, delays: NDArray[np.int64]) -> Timeline:
    """Rows of samples and of their labels, which come in the order of the samples."""
    before = np.maximum.accumulate(np.arange(N) + delays)  # the sample before which each comes
    told = stream.truth >= 0 if stream.labels else np.isfinite(stream.truth)
    rows, due = [], 0
    for number in range(2 * N):
        while due < N and before[due] <= number:
            rows += [(True, due, number)] * bool(told[due])
            due += 1
        rows += [(False, number, number)] * (number < N)
    late, sample, number_ = (np.array(column) for column in zip(*rows, strict=True))
    return Timeline(late, np.where(late, sample, -1), sample, number_)


def serve_late(ensemble: Ensemble, stream: Said, timeline: Timeline) -> NDArray[np.float64]:
    """What is served for each sample, while labels come late."""
    late, sample = timeline.late, timeline.sample
    answers, alive = stream.answers[:, sample], stream.alive[:, sample]
    kept = ensemble.prepare_late(timeline, answers.shape[-1])
    if isinstance(ensemble, NumberEnsemble):
        truth = np.where(late, stream.truth[sample], np.nan)
        center, spread = (unit[sample] for unit in stream.units)
        return ensemble.serve(answers, alive, truth, center, spread, kept)[~late]
    truth = np.where(late, stream.truth[sample], -1).astype(np.int32)
    known = find_known(stream, timeline)
    served = ensemble.serve_pair(answers, alive, truth, known, kept).answers
    own: NDArray[np.float64] = served[0, ~late]
    return own


def find_known(stream: Said, timeline: Timeline) -> NDArray[np.int32]:
    """Number of labels known when each row's sample was predicted."""
    late, sample = timeline.late, timeline.sample
    heard = np.where(late, stream.truth[sample], -1)
    known = np.concatenate(([0], np.maximum.accumulate(heard)[:-1] + 1))
    return known[~late][sample].astype(np.int32)


def serve_plainly(naive: Any, stream: Said, timeline: Timeline) -> list[Any]:
    """The same by the plain version."""
    kept: dict[int, Any] = {}
    found = []
    known = find_known(stream, timeline) if stream.labels else None
    for i, (late, sample) in enumerate(zip(timeline.late, timeline.sample.tolist(), strict=True)):
        if late:
            naive.learn_late(kept[sample], stream.truth[sample].item(), int(timeline.ages[i]))
            continue
        if known is None:
            about = [float(unit[sample]) for unit in stream.units]
        else:
            about = [int(known[i])]
        answers = stream.answers[:, sample].astype(float).tolist()
        answer, kept[sample] = naive.predict(answers, stream.alive[:, sample].tolist(), *about)
        found.append(answer)
    return found


def draw_delays(seed: int, largest: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(1, largest + 1, N)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(("seed", "largest"), [(0, 2), (1, 30), (2, 200), (3, 1)])
def test_every_answer_is_that_of_the_plain_version(task: Task, seed: int, largest: int) -> None:
    kind = NaiveLabels if task is Task.CLASSIFICATION else NaiveNumbers
    stream = said(task, N, 3, seed=seed, dtype="float64")
    timeline = order_rows(stream, draw_delays(seed, largest))
    ensemble, naive = ensemble_of(task, 3), kind(3, fading=0.999)
    served = serve_late(ensemble, stream, timeline)
    for row, answer in zip(served, serve_plainly(naive, stream, timeline), strict=True):
        found = row[: len(answer)] if isinstance(answer, list) else row
        assert np.allclose(found, answer, rtol=1e-11, atol=1e-11)
    assert ensemble.pace[0] == pytest.approx(naive.pace, rel=1e-15)
    weights = np.array([mixer.weights for mixer in naive.mixers])
    assert ensemble.weights == pytest.approx(weights, rel=1e-8, abs=1e-9)
    assert ensemble.final == pytest.approx(np.array(naive.final.weights), rel=1e-8, abs=1e-9)


@pytest.mark.parametrize("task", TASKS)
def test_labels_that_come_before_the_next_sample_are_not_late(task: Task) -> None:
    stream = said(task, N, 3, seed=5)
    at_once, late = ensemble_of(task, 3), ensemble_of(task, 3)
    expected = serve(at_once, stream)
    found = serve_late(late, stream, order_rows(stream, np.ones(N, np.int64)))
    assert found.tobytes() == expected.tobytes()
    assert differences(late.export_state(), at_once.export_state()) == []
    assert "pace" not in late.export_state()


@pytest.mark.parametrize("task", TASKS)
def test_a_restored_ensemble_answers_as_before(task: Task) -> None:
    stream = said(task, N, 3, seed=6, gaps=False)
    ensemble = ensemble_of(task, 3)
    serve_late(ensemble, stream, order_rows(stream, np.full(N, 40)))
    state = ensemble.export_state()
    assert state["pace"].tolist() == [40**-0.5]
    restored = restore_ensemble(task, state)
    assert ask(restored, stream, N - 1).tobytes() == ask(ensemble, stream, N - 1).tobytes()
    del state["pace"]  # as if labels had come at once, after which the leader is followed
    other = ask(restore_ensemble(task, state), stream, N - 1)
    assert other.tobytes() != ask(ensemble, stream, N - 1).tobytes()
    if isinstance(ensemble, LabelEnsemble):
        assert isinstance(restored, LabelEnsemble)
        share_pool(ensemble, restored)
        assert ensemble.pace is restored.pace
        assert ensemble.pace.tolist() == [40**-0.5]


def test_labels_in_runs_do_not_lead_a_late_ensemble_astray() -> None:
    """Two candidates seem right in turn, as long as the label stays; the third one is right."""
    turn = (np.arange(N) // 50 % 2).astype(np.int32)
    shares = np.array([np.full(N, 0.95), np.full(N, 0.05), np.where(turn, 0.7, 0.3)])
    answers, alive = np.stack((1.0 - shares, shares), axis=2), np.ones((3, N), np.uint8)
    units = np.zeros(N), np.ones(N)
    stream = Said(answers, alive, turn, np.full(N, 2, np.int32), units)
    served = serve_late(LabelEnsemble(3), stream, order_rows(stream, np.full(N, 50)))
    assert np.mean(served.argmax(axis=1)[100:] == turn[100:]) > 0.9  # 0.71 at full step sizes
