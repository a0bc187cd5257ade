"""KeyedModels: a small model for every key, over the predictions of the shared one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import StateError
from streamnet.keyed.kernels.experts import (
    AGES,
    FLEET_COLUMNS,
    KEPT,
    KeySamples,
    LatePredictions,
    ModelArrays,
    NetworkArrays,
    weigh_experts,
)
from streamnet.keyed.kernels.labels import serve_labels
from streamnet.keyed.kernels.numbers import serve_numbers
from streamnet.keyed.layout import (
    EXPERTS,
    HEAD,
    MAX_INPUTS,
    MAX_OUTPUTS,
    RowLayout,
    build_row_layout,
    convert_row,
    new_scratch,
)
from streamnet.keyed.rows import KeyedRows, Rows
from streamnet.keyed.store import RowScores
from streamnet.samples import Task, Timeline

EXPERT_NAMES = {
    Task.REGRESSION: ("shared", "last", "level", "slow", "fast", "network"),
    Task.CLASSIFICATION: ("shared", "frequent", "last", "slow", "fast", "network"),
}
LEAST_SAMPLES = 10  # of a key that is ranked
_AT_ONCE = LatePredictions(np.empty(0, np.int64), np.empty((0, 1)), np.empty((0, 1, 1)))


class KeyScores(NamedTuple):
    """What is known about the model of a key.

    Losses are those of predictions made before their sample was learned: absolute errors of
    numbers, log-losses of labels.
    """

    key: str
    samples: int
    """Samples with a target that were learned."""
    loss: float
    """Mean loss of what was predicted for this key; NaN without samples."""
    shared_loss: float
    """What the shared model alone would have lost."""
    recent_loss: float
    """Mean loss with exponential fading, of some 50 samples."""
    error: float
    """Root mean square error of numbers, or fraction of wrong labels."""
    shared_error: float
    """That of the shared model alone."""
    drifts: int
    """How many rises of the key's loss were detected."""
    drifted_at: int | None
    """After how many samples of the key the last one was."""
    experts: dict[str, float]
    """Weight of the shared model and of each part of the key's own in the next prediction."""


@final
class KeyedModels:
    """A row of numbers for each key: moments, least squares, a network, losses and scores.

    Each key's model sees the prediction of the shared model, the encoder's first dense inputs,
    scaled by moments of the key, and the key's last errors. A new key starts with what is best for
    other keys of its age; one that differs leaves the shared model.

    >>> models = KeyedModels(Task.REGRESSION, resident=10)
    >>> shared, inputs = np.zeros(100), np.zeros((100, 1), np.float32)
    >>> truth = np.tile([1.0, -1.0], 50)
    >>> served = models.serve(["a", "b"] * 50, shared, inputs, truth)
    >>> bool(np.abs(served - truth)[-10:].max() < 0.1)
    True
    """

    def __init__(self, task: Task, *, resident: int) -> None:
        self.task = task
        self._fleet = np.zeros((AGES + 1, FLEET_COLUMNS))
        self._adopt(build_row_layout(task, 0, 1))
        self._rows = KeyedRows(
            self._layout.shape, resident=resident, convert=self._convert, rank=_rank
        )
        self._resident = resident

    def _adopt(self, layout: RowLayout) -> None:
        self._layout = layout
        places = layout.places
        width = max(places.features + places.outputs, EXPERTS)
        self._work = np.zeros((4, width))
        self._said = np.zeros((EXPERTS, places.outputs))
        self._network = NetworkArrays(
            layout.plan,
            layout.factors,
            new_scratch(layout),
            np.zeros(1, np.int64),
            np.zeros(1, np.float32),
            np.zeros(1, np.int32),
            np.full((1, 1), np.nan, np.float32),
            np.full(1, np.nan, np.float32),
            np.ones((1, 2), np.float32),
        )

    def _convert(self, label: str, row: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        return convert_row(self._layout, label, row)

    def _reserve(self, inputs: int, outputs: int) -> None:
        """Make room for inputs and outputs; all keys keep what they have learned."""
        now = self._layout.places
        inputs = max(min(inputs, MAX_INPUTS), now.inputs)
        outputs = grow_outputs(now.outputs, outputs)
        if (inputs, outputs) != (now.inputs, now.outputs):
            self._adopt(build_row_layout(self.task, inputs, outputs))
            self._rows.reshape(self._layout.shape)

    @property
    def rows(self) -> KeyedRows:
        """The rows of all keys."""
        return self._rows

    def serve(
        self,
        keys: Sequence[str | None],
        shared: NDArray[Any],
        dense: NDArray[np.floating],
        truth: NDArray[Any],
        known: NDArray[np.int32] | None = None,
        weight: NDArray[np.float64] | None = None,
        late: LatePredictions | None = None,
    ) -> NDArray[Any]:
        """Predict samples, each before it is learned, in order; return what `shared` becomes.

        Args:
            keys: Key of each sample; None leaves the prediction as it is.
            shared: Predictions of the shared model: numbers (n,), or probabilities (n, labels).
            dense: Dense inputs, shape=(n, inputs).
            truth: Numbers, NaN for none; or class numbers, -1 for none; shape=(n,).
            known: Number of labels known before each sample, shape=(n,); for labels only.
            weight: Weight of each sample, shape=(n,); None: all are 1.
            late: What is kept of predictions, from `prepare_late`, where labels arrive late: the
                rows are those of a timeline then, and what is returned of a label has no meaning.
        """
        served, first, inputs = [], 0, dense.shape[1]
        with self._rows.lock:
            for end, outputs in self._find_growths(truth, known):
                self._reserve(inputs, outputs)
                part = slice(first, end)
                counts = None if known is None else known[part]
                own = None if weight is None else weight[part]
                rows = keys[part], shared[part], dense[part], truth[part], counts, own
                served.append(self._run(*rows, late, learns=True, first=first))
                first = end
        return np.concatenate(served)

    def _find_growths(
        self, truth: NDArray[Any], known: NDArray[np.int32] | None
    ) -> list[tuple[int, int]]:
        """Parts of samples with as many outputs each, as ends and outputs.

        Rows grow at the sample that needs it, not at a block's start: what they begin with depends
        on their size.
        """
        n, outputs = len(truth), self._layout.places.outputs
        if self.task is Task.REGRESSION:
            return [(n, 1)]
        assert known is not None
        wanted = np.maximum.accumulate(np.minimum(np.maximum(known, truth + 1), MAX_OUTPUTS))
        parts, start = [], int(np.searchsorted(wanted, outputs, "right"))
        while start < n:
            parts.append((start, outputs))
            outputs = grow_outputs(outputs, int(wanted[start]))
            start = int(np.searchsorted(wanted, outputs, "right"))
        return [*parts, (n, outputs)]

    def prepare_late(
        self,
        timeline: Timeline,
        shared: NDArray[Any],
        dense: NDArray[np.floating],
        truth: NDArray[Any],
        known: NDArray[np.int32] | None = None,
    ) -> LatePredictions:
        """Room for what is kept of the predictions of a timeline, for the same rows as in `serve`.

        Rows of labels of earlier samples are to be overwritten by what was kept of these.
        """
        places, n, labels = self._layout.places, len(timeline.late), 1
        features = places.features + max(0, min(dense.shape[1], MAX_INPUTS) - places.inputs)
        if self.task is Task.CLASSIFICATION:
            labels = max(shared.shape[1], self._find_growths(truth, known)[-1][1])
        head, said = np.zeros((n, KEPT + features)), np.zeros((n, EXPERTS + 3, labels))
        return LatePredictions(timeline.origin, head, said)

    def predict(
        self,
        keys: Sequence[str | None],
        shared: NDArray[Any],
        dense: NDArray[np.floating],
        known: int = 0,
    ) -> NDArray[Any]:
        """Predict samples of which each might be the next of its key; nothing is learned.

        Any thread may call it. Dense inputs that an older encoder does not have count as 0.
        """
        n = len(keys)
        labels = self.task is Task.CLASSIFICATION
        truth = np.full(n, -1, np.int32) if labels else np.full(n, np.nan)
        with self._rows.lock:
            missing = max(0, self._layout.places.inputs - dense.shape[1])
            dense = np.pad(dense, ((0, 0), (0, missing)))
            return self._run(
                keys, shared, dense, truth, np.full(n, known, np.int32), None, learns=False
            )

    def _run(
        self,
        keys: Sequence[str | None],
        shared: NDArray[Any],
        dense: NDArray[np.floating],
        truth: NDArray[Any],
        known: NDArray[np.int32] | None,
        weight: NDArray[np.float64] | None,
        late: LatePredictions | None = None,
        *,
        learns: bool,
        first: int = 0,
    ) -> NDArray[Any]:
        dense = np.ascontiguousarray(dense[:, : self._layout.places.inputs], np.float32)
        shared = np.ascontiguousarray(shared)
        served = shared.copy()  # rows of late labels stay as they are
        weight = np.empty(0) if weight is None else weight
        late = _AT_ONCE if late is None else late
        known = np.empty(0, np.int32) if known is None else known
        labels = self.task is Task.CLASSIFICATION
        serve: Callable[..., None] = serve_labels if labels else serve_numbers
        initial, initial_weights, _ = self._layout.shape.initial
        x, gains, shares, errors = self._work
        for start in range(0, len(keys), self._resident):
            part = slice(start, start + self._resident)
            slots = self._rows.take(keys[part], create=learns)
            samples = KeySamples(
                slots,
                shared[part],
                dense[part],
                truth[part],
                known[part],
                weight[part],
                first + start,
            )
            rows, weights, states = self._rows.arrays
            models = ModelArrays(
                self._layout.places,
                rows,
                weights,
                states,
                initial,
                initial_weights,
                self._fleet,
                self._network,
                x,
                gains,
                shares,
                errors,
                self._said,
            )
            serve(samples, learns, models, late, served[part])
        return served

    def describe(self, key: str) -> KeyScores | None:
        """What is known about a key; None if it was never learned."""
        with self._rows.lock:
            rows = self._rows.get(key)
            if rows is None:
                return None
            row = rows[0]
            experts = self._shares(row)
        weight = row[HEAD.weight]
        mean = {
            name: float(row[getattr(HEAD, name)] / weight) if weight > 0.0 else math.nan
            for name in ("loss", "shared_loss", "error", "shared_error")
        }
        if self.task is Task.REGRESSION:
            mean |= {name: math.sqrt(mean[name]) for name in ("error", "shared_error")}
        recent = row[HEAD.recent_weight]
        drifts = int(row[HEAD.drifts])
        return KeyScores(
            key=key,
            samples=int(row[HEAD.samples]),
            **mean,
            recent_loss=float(row[HEAD.recent] / recent) if recent > 0.0 else math.nan,
            drifts=drifts,
            drifted_at=int(row[HEAD.drift_at]) if drifts else None,
            experts=experts,
        )

    def _shares(self, row: NDArray[np.float64]) -> dict[str, float]:
        shares = np.empty(EXPERTS)
        weigh_experts(row, self._layout.places, self._fleet, shares)
        return dict(zip(EXPERT_NAMES[self.task], shares.tolist(), strict=True))

    def rank(self, count: int, *, worst: bool) -> list[KeyScores]:
        """The keys of highest or lowest mean loss, of those with at least 10 samples."""
        found = self._rows.rank(count, least=LEAST_SAMPLES, worst=worst)
        return [scores for key in found if (scores := self.describe(key)) is not None]

    def export_state(self, only: str | None = None) -> dict[str, Any]:
        """Everything needed to resume, bit for bit; of the rows, ``only`` that of one key."""
        with self._rows.lock:
            places = self._layout.places
            return {
                "inputs": places.inputs,
                "outputs": places.outputs,
                "fleet": self._fleet.copy(),
                "rows": self._rows.export_state(only),
            }

    def restore_state(self, state: dict[str, Any]) -> None:
        """Resume from an exported state."""
        inputs, outputs = state["inputs"], state["outputs"]
        if not (0 <= inputs <= MAX_INPUTS and 1 <= outputs <= MAX_OUTPUTS):
            raise StateError(f"models of keys have {inputs} inputs and {outputs} outputs")
        self._adopt(build_row_layout(self.task, inputs, outputs))
        self._rows.restore_state(self._layout.shape, state["rows"])
        self._fleet = np.array(state["fleet"], np.float64).reshape(AGES + 1, FLEET_COLUMNS)


def grow_outputs(outputs: int, wanted: int) -> int:
    """How many outputs rows have once so many are wanted; at least twice as many as before."""
    if min(wanted, MAX_OUTPUTS) <= outputs:
        return outputs
    return min(max(wanted, 2 * outputs), MAX_OUTPUTS)


def _rank(rows: Rows, slots: NDArray[np.int64]) -> RowScores:
    """Samples and mean losses of some keys."""
    head = rows[0][slots, : len(HEAD)]
    weight = head[:, HEAD.weight]
    losses = np.divide(head[:, HEAD.loss], weight, out=np.zeros(len(slots)), where=weight > 0.0)
    return RowScores(head[:, HEAD.samples], losses)
