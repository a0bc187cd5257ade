"""What a practitioner does instead: a batch learner fitted anew at every 1 % of the stream.

It is fitted on everything so far, and first after 25, 50, 100, ... samples; until then it repeats
the last target. It has its library's defaults, but for CatBoost's 1,000 trees, which take hours.
LightGBM and CatBoost know categories as such, ExtraTrees sees them numbered by their first
appearance. Where a stream has lags, its last targets are inputs, too.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.peers.adapters.baselines import no_change
from tests.benchmarks.peers.peer import BOTH, Answers, Peer, Prepared, Scored
from tests.benchmarks.peers.rows import Rows
from tests.benchmarks.peers.views import numbered

__all__ = ("PEERS", "fitting_times", "prepare_refitted")

_FIRST = 25  # samples
_FITS = 100
_WORDS = 256  # inputs for a text

Fit = Callable[[NDArray[np.float64], NDArray[Any], list[int], int], Any]
"""A fitted model from inputs, targets, indices of categories, and a seed."""


def fitting_times(samples: int) -> list[int]:
    """Counts of samples after which a model is fitted.

    >>> fitting_times(10_000)[:4], fitting_times(400)[:4]
    ([25, 50, 100, 200], [4, 8, 12, 16])
    """
    step = -(-samples // _FITS)
    early = [_FIRST << i for i in range(step.bit_length()) if _FIRST << i < step]
    return [*early, *range(step, samples, step)]


def _fit_lightgbm(x: NDArray[np.float64], y: NDArray[Any], categories: list[int], seed: int) -> Any:
    from lightgbm import LGBMClassifier, LGBMRegressor

    numeric = y.dtype == np.float64
    kind = LGBMRegressor if numeric else LGBMClassifier
    more = {"objective": "l1"} if numeric else {}
    model = kind(n_jobs=1, verbose=-1, random_state=seed, **more)
    return model.fit(x, y, categorical_feature=categories)


def _fit_catboost(x: NDArray[np.float64], y: NDArray[Any], categories: list[int], seed: int) -> Any:
    from catboost import CatBoostClassifier, CatBoostRegressor

    numeric = y.dtype == np.float64
    kind = CatBoostRegressor if numeric else CatBoostClassifier
    more = {"loss_function": "MAE"} if numeric else {}
    model = kind(
        iterations=200,
        thread_count=1,
        verbose=False,
        random_seed=seed,
        allow_writing_files=False,
        **more,
    )
    return model.fit(_with_categories(x, categories), y, cat_features=categories)


def _with_categories(x: NDArray[np.float64], categories: list[int]) -> Any:
    """Inputs as CatBoost takes them: a table, whose categories are whole numbers."""
    if not categories:
        return x
    from pandas import DataFrame

    return DataFrame(x).astype(dict.fromkeys(categories, int))


def _fit_extra_trees(x: NDArray[np.float64], y: NDArray[Any], _: list[int], seed: int) -> Any:
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

    kind = ExtraTreesRegressor if y.dtype == np.float64 else ExtraTreesClassifier
    return kind(n_estimators=100, n_jobs=1, random_state=seed).fit(x, y)


def prepare_refitted(fit: Fit, setting: str) -> Callable[[Rows, int], Prepared]:
    """A learner that is fitted anew by ``fit`` at each of `fitting_times`."""

    def prepare(rows: Rows, seed: int) -> Prepared:
        inputs, categories = numbered(rows, _WORDS)
        inputs = np.hstack([inputs, _lagged(rows)])
        tables = fit is _fit_catboost

        def learn() -> Answers | Scored:
            answers = np.array(no_change(rows))
            scores = np.zeros(len(inputs))
            ends = [*fitting_times(len(inputs)), len(inputs)]
            for start, end in pairwise(ends):
                x, y = inputs[:start], rows.target[:start]
                found, codes = np.unique(y, return_inverse=True)
                if len(found) == 1 or (x == x[0]).all():  # there is nothing to tell apart
                    answers[start:end] = np.median(y) if not rows.classification else y[-1]
                    continue
                asked = inputs[start:end]
                asked = _with_categories(asked, categories) if tables else asked
                model = fit(x, codes if rows.classification else y, categories, seed)
                if not rows.classification:
                    answers[start:end] = np.ravel(model.predict(asked))
                    continue
                shares = model.predict_proba(asked)
                answers[start:end] = found[shares.argmax(axis=1)]
                scores[start:end] = shares[:, found == rows.rarest].sum(axis=1)
            return Scored(answers, scores) if rows.classification else list(answers)

        lags = f", {rows.stream.lags} lags" if rows.stream.lags else ""
        return Prepared(learn, f"{setting}{lags}, every 1 %")

    return prepare


def _lagged(rows: Rows) -> NDArray[np.float64]:
    """The last targets before each sample, shape=(n, lags); 0 before the first."""
    target = rows.target.astype(np.float64)
    lags = [np.append(np.zeros(min(lag, len(target))), target[:-lag]) for lag in _lags(rows)]
    return np.stack(lags, axis=1) if lags else np.empty((len(target), 0))


def _lags(rows: Rows) -> range:
    return range(1, rows.stream.lags + 1)


_LEARNERS: dict[str, tuple[str, Fit, str]] = {
    "lightgbm": ("lightgbm", _fit_lightgbm, "100 trees"),
    "catboost": ("catboost", _fit_catboost, "200 trees"),
    "extratrees": ("scikit-learn", _fit_extra_trees, "100 trees"),
}
PEERS = tuple(
    Peer(f"retrained-{name}", package, BOTH, random=True, prepare=prepare_refitted(fit, setting))
    for name, (package, fit, setting) in _LEARNERS.items()
)
