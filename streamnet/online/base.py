"""What online estimators share: learning and predicting samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from inspect import cleandoc
from math import isfinite
from typing import Any, ClassVar, Self, Unpack, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamnet.errors import DataError, NoCandidateError, StateError
from streamnet.learning.learner import ROUND, Learner
from streamnet.learning.warmup import needs_compiling, warm_up
from streamnet.modelfiles.model import Model
from streamnet.online.following import FollowedEstimator
from streamnet.online.interrupts import Broken, Uninterrupted
from streamnet.online.queries import QueryReader
from streamnet.online.rejections import TARGET, check_labeled, describe_rejection, reject
from streamnet.online.scikit_learn import (
    MatrixForm,
    check_fitted_samples,
    check_some_weight,
    make_tags,
    raise_not_fitted,
    read_missing,
    read_samples,
    read_targets,
    read_weights,
)
from streamnet.pipeline.callbacks import Callback, Callbacks
from streamnet.progress import ProgressBar
from streamnet.randomness import derive_key, permutation
from streamnet.samples import Block, DeadLetter, Kind, Sample, Schema, Task, schema_to_dict
from streamnet.settings.candidate import CandidateSettings
from streamnet.settings.fields import DType, list_settings, with_settings
from streamnet.settings.inference import OnUnknown
from streamnet.settings.keywords import EncoderKeywords, LearningKeywords, SearchKeywords
from streamnet.settings.learning import KeySettings, LearningSettings, check_candidates
from streamnet.sources.columns import Columns
from streamnet.sources.frames import SamplesLike
from streamnet.sources.roles import check_weights, weigh
from streamnet.sources.rows import RowReader
from streamnet.sources.sparse import SparseSamples

BLOCK_SIZE = 1024  # samples learned or predicted at a time
FIT_KEY = 1  # part of the random key for the order in which `fit` learns


@with_settings(LearningSettings, without=["label_delay", *list_settings(KeySettings)])
class OnlineEstimator(FollowedEstimator):
    """Base class of the online classifier and regressor, which follow the scikit-learn API.

    `sklearn.base.clone`, pipelines, cross-validation and searches accept them; scikit-learn itself
    is not needed (https://scikit-learn.org/stable/developers/develop.html).

    Predictions for a single sample are those for the next sample of the stream: candidates with
    lags see the last targets. Many samples at once may come from anywhere: they are predicted
    without lags, as by the exported `model`.

    A sample is a dict of numbers, strings, dates or None by name, in any order. Features may be
    missing, and new ones may appear at any time. Learning in blocks or one by one gives the same
    bits.

    Many samples are a list of dicts, a data frame (polars, pandas or pyarrow), or a matrix,
    shape=(n, features), whose columns are called f0, f1, ... For prediction, at least one column of
    a frame must be known, and all matrices must have the same columns, else `SchemaError` is
    raised. If the first matrix is a sparse one of scipy, columns are numbered inputs as in libSVM
    files, of which only values other than 0 take time.

    Settings are checked when they are first used, as in scikit-learn.

    Copies and pickles continue with the same bits. Ctrl-C is deferred until the current block, at
    most 1,024 samples, is complete. Any other exception raised while learning, such as one from a
    signal handler, leaves the estimator unusable, and every later call says so.

    The first sample ever learned on a machine waits some 20 seconds for kernels to be compiled.
    Calls from several threads run one after the other; a `model` predicts without waiting.

    Args:
        candidates: Settings of each network; None uses the default population of 23,
            or of 10 with a key.
        seed: Random seed; the same seed and samples give the same bits.
        kinds: Kinds of columns whose first value would mislead.
        most_fields: Maximum number of features; samples with more are rejected. None is 4,096.
        start: Model to continue learning from, instead of candidates; see `Learner`.
        dtype: Data type of the networks.
        encoder: Settings of the `Encoder`.
        evolution: Settings of the search for better candidates; None disables it if ``candidates``
            are given.
        missing: Texts that stand for a missing value in place of "?", "NA", "None" and the like, as
            on the command line; an empty one always does. With ``()``, these are labels like any
            others. A `model` does not keep them: it reads features as by default.
        on_unknown: What to do with features that were not learned yet, in samples to predict:
            "warn" logs a warning with what may have been meant, "ignore" does not, "raise" refuses
            the sample with a `SchemaError`.
        delay: How late labels arrive, as a simulation: what is learned is predicted at once, but
            its target counts as unknown until so many samples later, or for a duration such as
            "2h", which needs ``time``. Leave it out if you predict and learn at different times.
        guests: Models of River, scikit-learn or your own by name, which are candidates beside the
            networks; see `Guest`. Exported models, and so `predict`, are without them.
        callbacks: Called in the thread that learns, once a block is learned; see `Callback`. `fit`
            is a run with an end, and other learning has none. Copies and pickles are without them.

    Raises:
        ConfigurationError: If a setting is unknown or invalid.
    """

    _task: ClassVar[Task]
    _learner: Learner
    _made_by_begin = frozenset(
        ("_settings", "_learner", "_reader", "_queries", "_labels", "_matrix")
    )
    _without_lags: ClassVar[bool] = True  # whether `predict` ignores the last targets
    _key_kinds: Mapping[str, Kind] = {}  # of the columns of a key

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.__doc__ and OnlineEstimator.__doc__:
            # `help` shows only a class's own docstring, so append all but this one's first line.
            _, shared = cleandoc(OnlineEstimator.__doc__).split("\n\n", 1)
            cls.__doc__ = f"{cleandoc(cls.__doc__)}\n\n{shared}\n"

    def __init__(
        self,
        candidates: Sequence[CandidateSettings] | None = None,
        *,
        seed: int = 0,
        kinds: Mapping[str, Kind] | None = None,
        most_fields: int | None = None,
        start: Model | None = None,
        dtype: DType = "float32",
        encoder: EncoderKeywords | None = None,
        evolution: SearchKeywords | None = None,
        delay: int | str = 0,
        missing: Sequence[str] | str | None = None,
        on_unknown: OnUnknown = "warn",
        guests: Mapping[str, Any] | None = None,
        callbacks: Sequence[Callback] | None = None,
        **learning: Unpack[LearningKeywords],
    ) -> None:
        given = {
            "candidates": candidates,
            "seed": seed,
            "kinds": kinds,
            "most_fields": most_fields,
            "start": start,
            "dtype": dtype,
            "encoder": encoder,
            "evolution": evolution,
            "delay": delay,
            "missing": missing,
            "on_unknown": on_unknown,
            "guests": guests,
            "callbacks": callbacks,
        }
        self._keep_settings(given, learning)

    def _begin(self) -> None:
        given = {**self._params, "candidates": check_candidates(self._params["candidates"])}
        start, delay = given.pop("start"), given.pop("delay")
        Callbacks(given.pop("callbacks") or ())  # checks them
        reading = {name: given.pop(name) for name in ("kinds", "most_fields", "missing")}
        on_unknown = given.pop("on_unknown")
        # A copy, since the caller may change the given objects.
        others = {**reading, "delay": delay, "on_unknown": on_unknown}
        settings = {**deepcopy({**given, **others}), "start": start}
        kinds, most, missing = reading.values()
        learner = Learner(task=self._task, start=start, label_delay=delay, **given)
        learner.learns_due = True  # so that the next sample is predicted with all it may know
        fields = () if start is None else start.fields
        kinds = {**self._key_kinds, **dict(fields), **Columns(kinds=kinds or {}).kinds}
        limit = {} if most is None else {"most_fields": most}
        gaps = read_missing(missing)
        reader = RowReader(Columns(target=TARGET, task=self._task, kinds=kinds, **limit, **gaps))
        queries = QueryReader(reader, Columns(kinds=kinds, **gaps), on_unknown, reject)
        if start is not None:
            known = schema_to_dict(Schema(fields, TARGET, self._task))
            reader.restore_state({**known, "records": 0})
        self._settings, self._learner, self._reader = settings, learner, reader
        self._queries = queries
        self._labels = Columns(target=TARGET, task=self._task, labels_required=True, **gaps)
        self._matrix: MatrixForm | None = None

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            params = {**self._params, "callbacks": None}
            if not self._has_begun:
                return {"params": params}
            guests = self._learner.guests
            more = {} if guests is None else {"guests": deepcopy(guests.export_models())}
            settings, state = self._settings, self.export_state()
            return {"params": params, "settings": settings, "state": state, **more}

    def __setstate__(self, kept: dict[str, Any]) -> None:
        params = kept["params"]
        self.__init__(**kept.get("settings", params))  # type: ignore[misc]
        if "state" in kept:
            if (guests := self._learner.guests) is not None:
                guests.hand_over(kept["guests"])
            self.restore_state(kept["state"])
        self._params = params  # for the next `fit`

    def _has_learned(self) -> bool:
        learner: Any = self.__dict__.get("_learner")
        if learner is None or isinstance(learner, Broken):
            return learner is not None
        return bool(learner.trainer.number)

    # --------------------------------------------------------- scikit-learn

    def __sklearn_tags__(self) -> Any:
        labels = self._task is Task.CLASSIFICATION
        return make_tags(estimator_type="classifier" if labels else "regressor")

    @property
    def n_features_in_(self) -> int:
        """Number of features learned so far: of a matrix, or of all names that have appeared."""
        with self._lock:
            if not self._has_learned():
                raise AttributeError("n_features_in_ is known after the first sample")
            matrix = self._matrix
            return len(self._reader.schema.fields) if matrix is None else matrix.width

    @property
    def feature_names_in_(self) -> NDArray[np.object_]:
        """Names of the features in order of appearance, unless they are those of a matrix."""
        with self._lock:
            if not self._has_learned() or self._matrix is not None:
                raise AttributeError("feature_names_in_ is known after the first sample with names")
            return np.array([name for name, _ in self._reader.schema.fields], object)

    # ------------------------------------------------------------- learning

    def learn_one(self, x: Sample, y: Any, weight: float = 1.0) -> None:
        """Predict, score and then learn one sample.

        A sample without a target is used without supervision: its features are scaled, numbered
        and learned by the auto-encoder, but networks do not learn it.

        Args:
            x: Features by name.
            y: The target; None or NaN if it is unknown.
            weight: How much the sample counts in learning and in the metrics, from 0 to 1e9. One of
                weight 0 is neither learned nor scored.

        Raises:
            ConfigurationError: If the weight is invalid.
            DataError: If a value cannot be read; nothing is learned.
        """
        weights = None if weight == 1.0 else check_weights((weight,), 1)
        with self._lock:
            first, targets = self._reader.records, self._named((y,))
            self._follow()
            with Uninterrupted():
                letter = self._learn(self._reader.read((x,), targets), targets, first, weights)
            self._tell()
        if letter is not None:
            raise DataError(describe_rejection(letter))

    def partial_fit(
        self,
        X: SamplesLike,
        y: Sequence[Any] | ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        progress: bool = False,
    ) -> Self:
        """Predict, score and learn samples one after the other, in the given order.

        Args:
            X: The samples.
            y: Their targets, shape=(n,); None or NaN where unknown, see `learn_one`.
            sample_weight: How much each counts in learning and in the metrics, shape=(n,), from 0
                to 1e9; by default 1. Those of weight 0 are neither learned nor scored.
            progress: Whether to show a progress bar; it needs tqdm (extra ``progress``).

        Raises:
            ConfigurationError: If a weight is invalid.
            DataError: If a value cannot be read; the samples before it were learned.
        """
        with ProgressBar(progress) as bar, self._lock:
            rows, form = read_samples(X, self._matrix, owner=type(self).__name__)
            targets = read_targets(y, len(rows))
            weights = read_weights(sample_weight, len(rows))
            self._matrix = form
            self._learn_all(rows, targets, range(len(rows)), weights, bar)
        return self

    def fit(
        self,
        X: SamplesLike,
        y: Sequence[Any] | ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        progress: bool = False,
    ) -> Self:
        """Reset the estimator, then learn the samples once in random order.

        The latest samples count most, and files may be sorted, so samples are shuffled, depending
        on the seed; `partial_fit` keeps their order.

        Args:
            X: The samples.
            y: Their targets, shape=(n,).
            sample_weight: As in `partial_fit`.
            progress: Whether to show a progress bar; it needs tqdm (extra ``progress``).

        Raises:
            ConfigurationError: If a weight or a setting is invalid.
            DataError: If there is no sample or feature, a target is missing, or labels are numbers
                with fractions; or if a value cannot be read, when the samples drawn before it were
                learned.
        """
        rows, form = read_samples(X, None, owner=type(self).__name__)
        check_fitted_samples(X, rows)
        targets = read_targets(y, len(rows))
        weights = read_weights(sample_weight, len(rows))
        check_some_weight(weights)
        with ProgressBar(progress) as bar, self._lock:
            check_labeled(targets, Columns(**read_missing(self._params["missing"])))
            self._check_targets(targets)
            with Uninterrupted():
                self._begin()
            with self._whole():
                self._matrix = form
                self._expect_all(targets)
            order = permutation(derive_key(self._learner.seed, FIT_KEY), len(rows))
            with self._told_to_end():
                self._learn_all(rows, targets, order.tolist(), weights, bar)
        return self

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """Run work that must not be left half-done: defer Ctrl-C, and mark broken state."""
        with Uninterrupted():
            try:
                yield
            except BaseException as error:
                self._learner = cast("Learner", Broken("the estimator", error))
                raise

    def _learn_all(
        self,
        rows: Sequence[Sample],
        targets: Sequence[Any],
        order: Sequence[int],
        weights: NDArray[np.float64] | None,
        bar: ProgressBar,
    ) -> None:
        """Learn rows in the given order, up to the first rejected one."""
        if weights is not None:
            weights = weights[np.array(order, np.int64)]
        with self._lock:
            first, named = self._reader.records, self._named([targets[row] for row in order])
            self._follow()
            sparse = rows if isinstance(rows, SparseSamples) else None
            start = 0
            while start < len(order):
                bar.show(start, len(order))
                stop = min(start + BLOCK_SIZE, len(order))
                if sparse is not None:
                    stop = start + sparse.count_fitting(np.array(order[start:stop], np.int64))
                part = [rows[row] for row in order[start:stop]]
                letter = None
                with Uninterrupted():
                    for block in self._reader.blocks(part, named[start:stop]):
                        if sparse is not None:
                            places = (block.marks[:-1, 1] - first).tolist()
                            block = sparse.attach(block, np.array([order[i] for i in places]))
                        if (letter := self._learn(block, named, first, weights)) is not None:
                            break
                self._tell()
                if letter is not None:
                    number = order[letter.offset - first] if len(rows) > 1 else None
                    raise DataError(describe_rejection(letter, number))
                start = stop
            bar.show(start, len(order))

    def _learn(
        self,
        block: Block,
        targets: Sequence[Any],
        first: int,
        weights: NDArray[np.float64] | None = None,
    ) -> DeadLetter | None:
        """Learn a block up to the first rejected sample, which is returned.

        The target of record r is targets[r - first], and likewise its weight.
        """
        if weights is not None:
            block = weigh(block, weights[block.marks[:-1, 1] - first])
        learner, letters, start = self._learner, block.rejected, 0
        follower = self._follower
        if letters:
            block = block.part(0, int(block.places()[0]))
        block = learner.source.accepted(block)
        letters, size = block.rejected or letters, len(block)
        try:
            if learner.trainer.number == 0 and needs_compiling():
                self._compile(block)
            while start < size:
                left = ROUND - learner.trainer.number % ROUND
                stop = min(size, start + left)
                part = block if stop - start == size else block.part(start, stop)
                served = learner.learn_deferred(part, ends_round=stop - start == left)
                if follower is not None and served is not None:
                    follower.note(served)
                start = stop
            due = learner.learn_due()  # after a round's end
            if follower is not None and due is not None:
                follower.note(due)
            self._note(block, targets, first)
        except BaseException as error:
            self._learner = cast("Learner", Broken("the estimator", error))
            raise
        return letters[0] if letters else None

    def _compile(self, block: Block) -> None:
        """Compile the kernels, which takes a while the first time."""
        given, start = self._settings, self._settings["start"]
        dtype = given["dtype"] if start is None else start.dtype
        kinds = [kind for _, kind in block.schema.fields]
        warm_up(self._task, np.dtype(dtype).name, given["encoder"], kinds=kinds)

    def _read_targets(self, targets: Sequence[Any]) -> Block:
        """Read targets without features; there must be at least one."""
        return RowReader(self._labels).read([{}] * len(targets), targets)

    def _targets(self, targets: Sequence[Any]) -> NDArray[Any]:
        """Return the targets to compare predictions with: the encoder's labels, or numbers."""
        if not targets:
            raise DataError("X has no samples, but must have one to be scored")
        block = self._read_targets(self._named(targets))
        for letter in block.rejected:
            raise DataError(describe_rejection(letter, letter.offset if len(targets) > 1 else None))
        assert block.target is not None
        return block.target

    def _scored_learner(self) -> Learner:
        """Return the learner, with everything scored that was learned."""
        score_deferred = self._learner.score_deferred  # raises if the estimator is broken
        with self._whole():
            score_deferred()
        return self._learner

    # Numbers are learned as given; labels need more.

    def _check_targets(self, targets: Sequence[Any]) -> None:
        """Refuse targets that `fit` should not learn."""

    def _expect_all(self, targets: Sequence[Any]) -> None:
        """Prepare for all targets that `fit` is about to learn."""

    def _named(self, targets: Sequence[Any]) -> Sequence[Any]:
        """Return the given targets in the form in which they are learned."""
        return targets

    def _note(self, block: Block, targets: Sequence[Any], first: int) -> None:
        """Record the targets of a block that was learned."""

    # ----------------------------------------------------------- prediction

    def outlier_score_one(self, x: Sample) -> float:
        """Compute the outlier score of a sample, see `streamnet.AutoEncoder.score_one`; 0 at first.

        Args:
            x: Features by name.

        Raises:
            ConfigurationError: If there is no ``encoder={"autoencoder": ...}``.
            DataError: If a value cannot be read.
        """
        with self._lock:
            self._queries.check(x, (x,))
            return float(self._learner.encoder.outliers(self._queries.read((x,)))[0])

    def _check_fitted(self) -> None:
        if not self._has_learned() and not self._learner.ready:
            raise_not_fitted(self)

    def _predict_next(self, x: Sample) -> Any:
        """Predict the next sample: probabilities, or a number.

        Returns None before the first sample or the first known label, and if no network has a
        finite output.
        """
        with self._lock:
            labels = self._task is Task.REGRESSION or self._learner.encoder.labels
            if not self._learner.ready or not labels:
                return None
            self._queries.check(x, (x,))
            try:
                predicted = self._learner.predict(self._queries.read((x,)))[0].tolist()
            except NoCandidateError:
                return None
        # A sum is finite only if all of its terms are.
        total = sum(predicted) if isinstance(predicted, list) else predicted
        return predicted if isfinite(total) else None

    def _predict_many(self, X: SamplesLike) -> NDArray[np.floating]:
        """Predict with the portable model, shape=(n, labels) or (n,); NaN where undefined."""
        with self._lock:
            known, owner = self._reader.schema.fields, type(self).__name__
            rows, _ = read_samples(X, self._matrix, known, owner=owner)
            labels = len(self._learner.encoder.labels)
            shape = (len(rows), labels) if self._task is Task.CLASSIFICATION else (len(rows),)
            predictions = np.full(shape, np.nan)
            if not self._learner.ready:
                return predictions
            self._queries.check(X, rows)
            learner, start = self._scored_learner(), 0
            while start < len(rows):
                stop = self._queries.fit_block(rows, start, BLOCK_SIZE)
                block = self._queries.read(rows, start, stop)
                with suppress(NoCandidateError):
                    predictions[start:stop] = learner.predict(
                        block, without_lags=self._without_lags
                    )
                start = stop
            return predictions

    def _predict_intervals(self, X: SamplesLike) -> NDArray[Any]:
        """Intervals or sets of samples from anywhere, see `Learner.predict_intervals`."""
        with self._lock:
            predictions = self._predict_many(X)
            learner = self._scored_learner()
            return learner.predict_intervals(predictions, without_lags=self._without_lags)

    def _predict_next_interval(self, x: Sample) -> NDArray[Any]:
        """Interval or set of the next sample of the stream."""
        with self._lock:
            learner = self._scored_learner()
            self._queries.check(x, (x,))
            block = self._queries.read((x,))
            labels = len(learner.encoder.labels)
            shape = (1, labels) if self._task is Task.CLASSIFICATION else (1,)
            predictions: NDArray[Any] = np.full(shape, np.nan)
            if learner.ready:
                with suppress(NoCandidateError):
                    predictions = learner.predict(block)
            row: NDArray[Any] = learner.predict_intervals(predictions)[0]
            return row

    # ------------------------------------------------------------------ state

    def model(self) -> Model:
        """Build an immutable model of the networks behind `predict`.

        Raises:
            NoCandidateError: If nothing was learned yet, or no network is finite.
        """
        with self._lock:
            return self._scored_learner().model()

    def export_state(self) -> dict[str, Any]:
        """Return everything needed to resume, bit for bit."""
        with self._lock:
            return {
                "learner": self._scored_learner().export_state(),
                "reader": self._reader.export_state(),
                "matrix": self._matrix and list(self._matrix),
            }

    def restore_state(self, state: dict[str, Any]) -> None:
        """Resume from the exported state of an estimator with the same settings.

        Args:
            state: The state.

        Raises:
            StateError: If the state is damaged or of another kind; the estimator is then broken.
        """
        with self._lock, self._whole():
            try:
                self._restore(state)
            except (AttributeError, LookupError, TypeError, ValueError) as error:
                raise StateError(f"the estimator's state is damaged: {error!r}") from error

    def _restore(self, state: dict[str, Any]) -> None:
        self._follower = None  # what it has told of is not in the state
        self._learner.restore_state(state["learner"])
        self._reader.restore_state(state["reader"])
        self._matrix = MatrixForm.restore(state["matrix"])
