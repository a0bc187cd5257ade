"""Explanations over time: importance and partial dependence while an estimator learns."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Self, final

import polars as pl
from numpy.typing import ArrayLike

from streamnet.errors import ConfigurationError, NoCandidateError
from streamnet.explanations import partial_dependence, permutation_importance
from streamnet.modelfiles.model import Model
from streamnet.online.estimators import OnlineClassifier, OnlineRegressor
from streamnet.online.scikit_learn import read_targets
from streamnet.plots import Plot, history_figure
from streamnet.samples import Sample
from streamnet.sources.frames import SamplesLike, to_rows
from streamnet.validation import check_integer

MAX_EXPLANATIONS = 1000  # kept, the latest
MAX_SERIES = 8  # of a plot


@final
class ExplanationHistory:
    """Follows what an estimator uses, by explaining predictions before their samples are learned.

    Samples are learned through it. The last ``samples`` before each multiple of ``every`` are
    predicted by the model as it was before it learned any of them. Their permutation importance and
    partial dependence, see `permutation_importance` and `partial_dependence`, are added to the
    history, the latest 1,000 of which are kept. The estimator learns the same bits as without.
    Fumagalli et al., "Incremental permutation feature importance (iPFI): towards online
    explanations on data streams", Machine Learning 112, 2023; Muschalik et al., "iPDP: on partial
    dependence plots in dynamic modeling scenarios", xAI 2023.

    Args:
        estimator: The estimator, which may have learned before.
        every: Number of samples between two explanations.
        samples: Number of samples that are explained, from 2 to ``every``.
        dependence: Columns whose partial dependence is followed, at the values of their first
            explanation.
        points: Maximum number of values of each.
        repeats: Number of permutations of each column.
        seed: Random seed of the permutations.

    Raises:
        ConfigurationError: If an argument is out of range.

    >>> from streamnet.online import OnlineRegressor
    >>> history = ExplanationHistory(OnlineRegressor(seed=1), every=500, dependence=["x"])
    >>> for i in range(1000):
    ...     history.learn_one({"x": i % 10, "y": i % 7}, 2.0 * (i % 10))
    >>> history.importance.filter(pl.col("column") == "x")["importance"].min() > 3.0
    True
    >>> history.dependence("x")["samples"].unique(maintain_order=True).to_list()
    [500, 1000]
    """

    def __init__(
        self,
        estimator: OnlineClassifier | OnlineRegressor,
        *,
        every: int = 1000,
        samples: int = 200,
        dependence: Sequence[str] = (),
        points: int = 10,
        repeats: int = 2,
        seed: int = 0,
    ) -> None:
        if not 2 <= check_integer("samples", samples) <= check_integer("every", every):
            raise ConfigurationError(f"samples is {samples}, but must be from 2 to every = {every}")
        for name, value in (("points", points), ("repeats", repeats)):
            if check_integer(name, value) < 1:
                raise ConfigurationError(f"{name} is {value}, but must be >= 1")
        self.estimator: OnlineClassifier | OnlineRegressor = estimator
        self._every, self._samples = every, samples
        self._points, self._repeats, self._seed = points, repeats, seed
        self._values: dict[str, list[Any]] = {name: [] for name in dependence}
        self._importance: deque[pl.DataFrame] = deque(maxlen=MAX_EXPLANATIONS)
        self._dependence: dict[str, deque[pl.DataFrame]] = {
            name: deque(maxlen=MAX_EXPLANATIONS) for name in dependence
        }
        self._learned = 0
        self._model: Model | None = None  # that explains the next samples
        self._rows: list[Sample] = []
        self._targets: list[Any] = []

    def learn_one(self, x: Sample, y: Any) -> None:
        """Let the estimator learn one sample.

        Args:
            x: Features by name.
            y: The target; None or NaN if it is unknown, and then not explained.

        Raises:
            DataError: If a value cannot be read; nothing is learned.
        """
        self._prepare()
        self.estimator.learn_one(x, y)
        self._note([dict(x)], [y])

    def partial_fit(self, X: SamplesLike, y: Sequence[Any] | ArrayLike) -> Self:
        """Let the estimator learn samples one after the other, in the given order.

        Args:
            X: The samples; columns of a matrix are called f0, f1, ...
            y: Their targets, shape=(n,).

        Raises:
            DataError: If a value cannot be read; the samples before it were learned.
        """
        rows = to_rows(X)
        targets, start = read_targets(y, len(rows)), 0
        while start < len(rows):
            self._prepare()
            place = self._learned % self._every
            first = self._every - self._samples
            stop = start + (first if place < first else self._every) - place
            part, some = rows[start:stop], targets[start:stop]
            self.estimator.partial_fit(part, some)
            self._note(part, some)
            start = stop
        return self

    @property
    def importance(self) -> pl.DataFrame:
        """Importance over time.

        A row for each explanation and column, the most important first: ``samples`` that were
        learned, ``column``, ``importance`` and ``deviation``.
        """
        kinds = {"column": pl.String, "importance": pl.Float64, "deviation": pl.Float64}
        empty = pl.DataFrame(schema={"samples": pl.Int64, **kinds})
        return pl.concat([empty, *self._importance])

    def dependence(self, column: str) -> pl.DataFrame:
        """Partial dependence over time.

        A row for each explanation and value: ``samples`` that were learned, ``value``, and the mean
        ``prediction``, or the mean probability of each label by its name.

        Args:
            column: One of those that were given to the constructor.

        Raises:
            ConfigurationError: If it is none of them.
        """
        if column not in self._dependence:
            raise ConfigurationError(
                f"column is {column!r}, but must be one of dependence = {list(self._dependence)}"
            )
        found = list(self._dependence[column])
        if not found:
            return pl.DataFrame(schema={"samples": pl.Int64})
        return pl.concat(found, how="diagonal")  # labels may be new

    def plot(self) -> Plot:
        """A plot of importance over time, of the eight columns with the highest ones.

        Raises:
            ConfigurationError: If there is no explanation yet, or matplotlib is missing.
        """
        frame = self.importance
        numbers = frame["samples"].unique(maintain_order=True).to_list()
        highest = frame.group_by("column").agg(pl.col("importance").max())
        highest = highest.sort(["importance", "column"], descending=[True, False]).head(MAX_SERIES)
        series = {}
        for name in highest["column"]:
            rows = frame.filter(pl.col("column") == name)
            known = dict(zip(rows["samples"], rows["importance"], strict=True))
            series[name] = [known.get(number) for number in numbers]
        return Plot(history_figure("importance", numbers, series))

    def _prepare(self) -> None:
        """Keep the model that explains the samples to come, if it is time."""
        if self._learned % self._every == self._every - self._samples:
            self._model = None
            with suppress(NoCandidateError):  # nothing was learned yet
                self._model = self.estimator.model()

    def _note(self, rows: Sequence[Sample], targets: Sequence[Any]) -> None:
        """Keep samples that were learned, and explain them if they are complete."""
        self._learned += len(rows)
        if self._model is not None:
            known = {field.name for field in self._model.fields}
            for row, target in zip(rows, targets, strict=True):
                if target is not None and target == target:  # not NaN
                    self._rows.append({name: v for name, v in row.items() if name in known})
                    self._targets.append(target)
        if self._learned % self._every == 0:
            if self._model is not None and self._rows:
                self._explain(self._model)
            self._model, self._rows, self._targets = None, [], []

    def _explain(self, model: Model) -> None:
        number = pl.lit(self._learned, pl.Int64).alias("samples")
        rows, targets, seed = self._rows, self._targets, self._seed
        found = permutation_importance(model, rows, targets, repeats=self._repeats, seed=seed)
        self._importance.append(found.select(number, pl.all()))
        known = {field.name for field in model.fields}
        for name in self._values.keys() & known:
            values = self._values[name] or None
            frame = partial_dependence(model, rows, name, values=values, points=self._points)
            self._values[name] = frame["value"].to_list()
            self._dependence[name].append(frame.select(number, pl.all()))
