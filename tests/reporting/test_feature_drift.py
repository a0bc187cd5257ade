"""Drift of columns: against SciPy's distance, independent of cuts, and kept across restarts."""

from __future__ import annotations

import numpy as np
import pytest

from streamnet.durability import checkpoint
from streamnet.reporting.feature_drift import FeatureDrift, compute_distance
from streamnet.samples import Block
from streamnet.sources import Columns, RowReader


def block_of(count: int, *, shift: float = 0.0, missing: float = 0.0, seed: int = 1) -> Block:
    rng = np.random.default_rng(seed)
    rows = [
        {
            "x": None if rng.random() < missing and i else float(rng.normal() + shift),
            "same": float(rng.normal()),
            "w": "abcdefghijklm"[min(int(rng.exponential(2 + 4 * shift)), 12)],
        }
        for i in range(count)
    ]
    return RowReader(Columns()).read(rows)


def lines_of(drift: FeatureDrift) -> dict[str, tuple[float | None, float | None]]:
    return {line.name: (line.drift, line.missing) for line in drift.lines()}


@pytest.mark.parametrize("cuts", [[4000], [1, 7, 500, 999, 1000, 1001, 2600, 4000]])
def test_what_changed_drifts_and_what_did_not_does_not(cuts: list[int]) -> None:
    blocks = [block_of(2000), block_of(2000, shift=1.0, missing=0.3, seed=2)]
    drift = FeatureDrift()
    for start, stop in zip([0, *cuts], cuts, strict=False):
        for number, block in enumerate(blocks):
            first, last = (min(max(at - 2000 * number, 0), 2000) for at in (start, stop))
            drift.add(block.part(first, last))
    found = lines_of(drift)
    for name in ("x", "w"):
        assert (found[name][0] or 0) > 0.3
    assert (found["same"][0] or 0) < 0.12
    assert found["x"][1] == pytest.approx(0.3, abs=0.05)
    assert found["same"][1] == 0.0
    # However it was cut, the bits are the same.
    whole = FeatureDrift()
    for block in blocks:
        whole.add(block)
    assert lines_of(whole) == found


def test_a_state_is_kept_at_any_moment() -> None:
    block = block_of(3000)
    for cut in (1, 600, 1000, 1700):
        first, whole, second = FeatureDrift(), FeatureDrift(), FeatureDrift()
        whole.add(block)
        first.add(block.part(0, cut))
        second.restore_state(checkpoint.decode(checkpoint.encode(first.export_state())))
        second.add(block.part(cut, 3000))
        assert second.lines() == whole.lines()


def test_the_distance_is_that_of_its_definition() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        p, q = rng.dirichlet(np.ones(10)), rng.dirichlet(np.ones(10))

        def entropy(one: np.ndarray) -> float:
            return float(-(one * np.log2(one)).sum())

        # The entropy of the mixture minus the mean entropy.
        divergence = entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2
        assert compute_distance(9 * p, 4 * q) == pytest.approx(np.sqrt(divergence), abs=1e-9)
