"""The watch over the loss of what is served."""

from __future__ import annotations

import numpy as np
import pytest

from streamnet.drift import DETECTORS
from streamnet.errors import ConfigurationError
from streamnet.learning.evaluator import DriftWatch

LOSSES = (np.random.default_rng(3).random(4000) < np.repeat([0.1, 0.5], 2000)).astype(float)


@pytest.mark.parametrize("name", DETECTORS)
def test_a_rise_is_reported_with_its_place_and_size(name: str) -> None:
    watch = DriftWatch(name)
    watch.add(1000, LOSSES)
    assert watch.check()
    assert watch.detections == len(watch.events) >= 1
    last = watch.events[-1]
    assert 3000 <= last.number < 5000
    assert last.since <= last.number
    assert last.after > last.before


@pytest.mark.parametrize("name", ["adwin", "hddm_a"])
def test_samples_without_a_target_only_count_in_sample_numbers(name: str) -> None:
    whole, half = DriftWatch(name), DriftWatch(name)
    whole.add(0, LOSSES)
    whole.check()
    half.add(0, np.stack((LOSSES, np.full(4000, np.nan)), axis=1).ravel())
    half.check()
    expected = [(2 * event.number, 2 * event.since) for event in whole.events]
    assert expected
    assert [(event.number, event.since) for event in half.events] == expected


def test_a_fall_is_no_drift_and_detector_none_detects_nothing() -> None:
    for name, losses in (("adwin", LOSSES[::-1].copy()), ("none", LOSSES)):
        watch = DriftWatch(name)
        watch.add(0, losses)
        assert not watch.check()
        assert not watch.events


def test_resuming_with_pending_losses_gives_the_same_events() -> None:
    whole = DriftWatch()
    whole.add(0, LOSSES)
    whole.check()
    watch = DriftWatch()
    watch.add(0, LOSSES[:700])
    watch.check()
    watch.add(700, LOSSES[700:1500])
    again = DriftWatch()
    again.restore_state(watch.export_state())
    again.add(1500, LOSSES[1500:])
    again.check()
    assert again.events == whole.events
    assert again.detections == whole.detections


def test_an_unknown_detector_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="drift is 'tarot'"):
        DriftWatch("tarot")
