"""OnlineEstimator: the base class of the classifier and the regressor."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from inspect import cleandoc
from math import isfinite
from typing import Any, Self, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamnet.errors import DataError, NoCandidateError, StateError
from streamnet.learning.learner import ROUND, Learner
from streamnet.learning.validation import check_candidates, check_settings
from streamnet.learning.warmup import needs_compiling, warm_up
from streamnet.modelfiles.model import Model
from streamnet.online.interrupts import Broken, Uninterrupted
from streamnet.online.scikit_learn import ScikitLearnEstimator
from streamnet.randomness import derive_key, permutation
from streamnet.samples import Block, DeadLetter, Kind, Sample, Schema, Task, schema_to_dict
from streamnet.settings.candidate import CandidateSettings
from streamnet.sources.columns import Columns
from streamnet.sources.frames import SamplesLike, to_rows, to_rows_and_targets
from streamnet.sources.rows import RowReader

__all__ = (
    "TARGET",
    "OnlineEstimator",
    "describe_rejection",
)


TARGET = "(target)"  # the column of targets: no feature is called so


def describe_rejection(letter: DeadLetter, number: int | None = None) -> str:
    """What is wrong with a sample, and which of several it is."""
    what = letter.detail.replace(f"column {TARGET!r}", "y").replace(f" {TARGET!r}", "")
    return what if number is None else f"sample {number}: {what}"


BLOCK_SIZE = 1024  # most samples that are learned or answered at a time
FIT_KEY = 1  # part of the key of the order in which `fit` learns


class OnlineEstimator(ScikitLearnEstimator):
    """What both estimators share: a learner of one task, with dicts going in.

    What is asked about one sample is answered as about the next one of the stream: the last targets
    are known. Many samples may come from anywhere: they are answered by what `model` takes home.

    A sample is a dict of numbers, texts, dates or None by name, in any order. Features may be
    absent, and new ones may come at any time. Learning in blocks or one by one gives the same bits.

    Many samples are a list of dicts, a data frame (of polars, pandas or pyarrow), or a matrix,
    shape=(n, features), whose columns are called f0, f1, ... Where nothing is learned, at least one
    column of a frame must be known, and a matrix must have the columns that are, or `SchemaError`
    is raised.

    Copied or pickled, it goes on to the same bits. Ctrl-C waits until what is being learned, at
    most 1,024 samples, is whole. Any other exception that breaks into it, such as one of a signal
    handler, leaves an estimator that says so and can't be used any more.

    The first sample ever learned on a machine waits for kernels to be compiled: some 20 seconds, in
    this process and one that it starts. Calls from several threads come one after the other. Who
    only asks need not wait for what is learned with a `model`.

    Args:
        candidates: Settings of each network; None is a population of 23 that suits most streams.
        seed: Key of all random numbers; the same seed and samples give the same bits.
        kinds: How columns are understood, for those whose first value would mislead.
        most_fields: Features that may come up; a sample with more is refused. None is 4,096.
        start: Model to go on learning, instead of candidates; see `Learner`.
        learning: More settings, as of `streamnet.learning.Learner`: criterion, serve, encoder, ...

    Raises:
        ConfigurationError: If a setting is unknown or breaks its rule.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.__doc__ and OnlineEstimator.__doc__:
            # `help` tells a class's own docstring alone: all but the first line of this follows it.
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
        **learning: Any,
    ) -> None:
        check_settings(learning, type(self), Learner)
        if not isinstance(candidates, Sequence):
            candidates = check_candidates(candidates)  # an iterator can be read only once
        given = {"candidates": candidates, "seed": seed, "kinds": kinds}
        super().__init__({**given, "most_fields": most_fields, "start": start, **learning})
        self._begin()

    def _begin(self) -> None:
        given = {**self._params, "candidates": check_candidates(self._params["candidates"])}
        # One that an earlier release has pickled does not know most_fields.
        kinds, most, start = (given.pop(name, None) for name in ("kinds", "most_fields", "start"))
        # A copy, since the caller may change what was given.
        copied = deepcopy({**given, "kinds": kinds, "most_fields": most})
        self._settings = {**copied, "start": start}
        self._learner = Learner(task=self._task, start=start, **given)
        fields = () if start is None else start.fields
        kinds = {**dict(fields), **Columns(kinds=kinds or {}).kinds}
        limit = {} if most is None else {"most_fields": most}
        self._reader = RowReader(Columns(target=TARGET, task=self._task, kinds=kinds, **limit))
        self._query_reader = RowReader(Columns(kinds=kinds), closed=True)
        if start is not None:
            known = schema_to_dict(Schema(fields, TARGET, self._task))
            self._reader.restore_state({**known, "records": 0})
        self._asked: Schema | None = None  # what the asker knows

    def __reduce__(self) -> tuple[Any, ...]:
        with self._lock:
            return _restored, (type(self), self._settings, self._params, self.export_state())

    def _has_learned(self) -> bool:
        learner: object = self._learner
        return isinstance(learner, Broken) or self._learner.trainer.number > 0

    # ------------------------------------------------------------- learning

    def learn_one(self, x: Sample, y: Any) -> None:
        """Answer, score and then learn one sample.

        Raises:
            DataError: If a value can't be read; nothing is learned then.
        """
        with self._lock:
            first, targets = self._reader.records, self._named((y,))
            with Uninterrupted():
                letter = self._learn(self._reader.read((x,), targets), targets, first)
        if letter is not None:
            raise DataError(describe_rejection(letter))

    def partial_fit(self, X: SamplesLike, y: Sequence[Any] | ArrayLike) -> Self:
        """Answer, score and learn samples one after the other, in their order.

        Raises:
            DataError: If a value can't be read; the samples before it were learned.
        """
        rows, targets = to_rows_and_targets(X, y)
        self._learn_all(rows, targets, range(len(rows)))
        return self

    def fit(self, X: SamplesLike, y: Sequence[Any] | ArrayLike) -> Self:
        """Forget everything, then learn samples once, in an order that the seed draws.

        What came last counts most, and samples of a file may be sorted; `partial_fit` keeps the
        order that they have.

        Raises:
            DataError: If a value can't be read; the samples drawn before it were learned.
        """
        rows, targets = to_rows_and_targets(X, y)
        with self._lock:
            with self._whole():
                self._begin()
                self._expect_all(targets)
            order = permutation(derive_key(self._learner.seed, FIT_KEY), len(rows))
            self._learn_all(rows, targets, order.tolist())
        return self

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """Of work that must not be left half-done; Ctrl-C waits for its end."""
        with Uninterrupted():
            try:
                yield
            except BaseException as error:
                self._learner = cast("Learner", Broken("the estimator", error))
                raise

    def _learn_all(
        self, rows: Sequence[Sample], targets: Sequence[Any], order: Sequence[int]
    ) -> None:
        """Learn rows in an order, up to one that is refused."""
        with self._lock:
            first, named = self._reader.records, self._named([targets[row] for row in order])
            for start in range(0, len(order), BLOCK_SIZE):
                stop = start + BLOCK_SIZE
                part = [rows[row] for row in order[start:stop]]
                with Uninterrupted():
                    for block in self._reader.blocks(part, named[start:stop]):
                        letter = self._learn(block, named, first)
                        if letter is not None:
                            number = order[letter.offset - first] if len(rows) > 1 else None
                            raise DataError(describe_rejection(letter, number))

    def _learn(self, block: Block, targets: Sequence[Any], first: int) -> DeadLetter | None:
        """Learn up to a sample that is refused, which is returned.

        The target of record r is targets[r - first].
        """
        learner, letters, start = self._learner, block.rejected, 0
        if letters:
            block = block.part(0, int(block.places()[0]))
        block = learner.encoder.accepted(block)
        letters, size = block.rejected or letters, len(block)
        try:
            if learner.trainer.number == 0 and needs_compiling():
                self._compile(block)
            while start < size:
                left = ROUND - learner.trainer.number % ROUND
                stop = min(size, start + left)
                part = block if stop - start == size else block.part(start, stop)
                learner.learn_deferred(part, ends_round=stop - start == left)
                start = stop
            self._note(block, targets, first)
        except BaseException as error:
            self._learner = cast("Learner", Broken("the estimator", error))
            raise
        return letters[0] if letters else None

    def _compile(self, block: Block) -> None:
        """The first time of all, which takes a while."""
        given, start = self._settings, self._settings["start"]
        dtype = given.get("dtype", "float32") if start is None else start.dtype
        kinds = [kind for _, kind in block.schema.fields]
        warm_up(self._task, np.dtype(dtype).name, given.get("encoder"), kinds=kinds)

    def _read_targets(self, targets: Sequence[Any]) -> Block:
        """Targets alone, of which there must be some."""
        reader = RowReader(Columns(target=TARGET, task=self._task))
        return reader.read([{}] * len(targets), targets)

    def _targets(self, targets: Sequence[Any]) -> NDArray[Any]:
        """Targets to compare with what was answered: labels as the encoder calls them, or numbers.

        Raises:
            DataError: If one can't be read, or there are none.
        """
        if not targets:
            raise DataError("X has no samples, but must have one to be scored")
        block = self._read_targets(self._named(targets))
        for letter in block.rejected:
            raise DataError(describe_rejection(letter, letter.offset if len(targets) > 1 else None))
        assert block.target is not None
        return block.target

    def _scored_learner(self) -> Learner:
        """The learner, after it has judged all that it learned."""
        judge = self._learner.score_deferred  # which a broken one refuses
        with self._whole():
            judge()
        return self._learner

    @abstractmethod
    def _expect_all(self, targets: Sequence[Any]) -> None:
        """Called by `fit` with all that it will learn."""

    @abstractmethod
    def _named(self, targets: Sequence[Any]) -> Sequence[Any]:
        """The targets that were given, as they are to be learned."""

    @abstractmethod
    def _note(self, block: Block, targets: Sequence[Any], first: int) -> None:
        """Called by `_learn` with what was learned."""

    # -------------------------------------------------------------- answers

    def outlier_score_one(self, x: Sample) -> float:
        """How unusual a sample is, as `streamnet.AutoEncoder.score_one` tells it; 0 at first.

        Raises:
            ConfigurationError: If there is no ``encoder={"autoencoder": ...}``.
            DataError: If a value can't be read.
        """
        with self._lock:
            return float(self._learner.encoder.outliers(self._ask((x,), 0, 1))[0])

    def _one(self, x: Sample) -> Any:
        """What is served for the next sample: shares of labels, or a number.

        None before the first sample, and where no network has a finite answer.
        """
        with self._lock:
            if not self._learner.ready:
                return None
            try:
                found = self._learner.predict(self._ask((x,), 0, 1))[0].tolist()
            except NoCandidateError:
                return None
        # No sum is finite with a number in it that is not.
        total = sum(found) if isinstance(found, list) else found
        return found if isfinite(total) else None

    def _many(self, X: SamplesLike) -> NDArray[np.floating]:
        """What the model says of samples, shape=(n, labels) or (n,); NaN in place of None."""
        with self._lock:
            rows = to_rows(X, self._reader.schema.fields)
            labels = len(self._learner.encoder.labels)
            shape = (len(rows), labels) if self._task is Task.CLASSIFICATION else (len(rows),)
            found = np.full(shape, np.nan)
            if not self._learner.ready:
                return found
            learner = self._scored_learner()
            for start in range(0, len(rows), BLOCK_SIZE):
                block = self._ask(rows[start : start + BLOCK_SIZE], start, len(rows))
                with suppress(NoCandidateError):
                    found[start : start + BLOCK_SIZE] = learner.predict(block, without_lags=True)
            return found

    def _ask(self, rows: Sequence[Sample], start: int, total: int) -> Block:
        """Samples as the encoder knows them, without features that are new."""
        schema = self._reader.schema
        if schema is not self._asked:
            # The very fields that are learned with: to turn to others would take a while.
            self._query_reader.set_fields(schema.fields)
            self._asked = schema
        block = self._query_reader.read(rows)  # all of them: it does not grow
        if block.rejected:
            letter = block.rejected[0]
            number = letter.offset - self._query_reader.records + len(rows) + start
            raise DataError(describe_rejection(letter, number if total > 1 else None))
        return block

    # ------------------------------------------------------------------ state

    def model(self) -> Model:
        """A copy of the networks that answer `predict`, ready to be saved.

        Raises:
            NoCandidateError: If nothing was learned yet, or no network is fit to answer.
        """
        with self._lock:
            return self._scored_learner().model()

    @property
    def served(self) -> dict[str, float]:
        """Measures of what was served: each sample answered before it was learned.

        Its numbers were scaled by what is known with that sample, as `Encoder` does, so they differ
        a little from measures of what `predict_one` said of it, which changes nothing.
        """
        with self._lock:
            return self._scored_learner().serving.measures()

    @property
    def champion(self) -> CandidateSettings | None:
        """Settings of the candidate that answers now; None before the first sample."""
        with self._lock:
            member = self._scored_learner().serving.champion
        return None if member is None else member.settings

    def export_state(self) -> dict[str, Any]:
        """Everything needed to go on, to the bit."""
        with self._lock:
            return {
                "learner": self._scored_learner().export_state(),
                "reader": self._reader.export_state(),
            }

    def restore_state(self, state: dict[str, Any]) -> None:
        """Go on as the estimator did whose state this is, and that was made with like settings.

        Raises:
            StateError: If it is no such state, or damaged; this estimator is broken then.
        """
        with self._lock, self._whole():
            try:
                self._restore(state)
            except (AttributeError, LookupError, TypeError, ValueError) as error:
                raise StateError(f"the estimator's state is damaged: {error!r}") from error

    def _restore(self, state: dict[str, Any]) -> None:
        self._learner.restore_state(state["learner"])
        self._reader.restore_state(state["reader"])
        self._asked = None


def _restored(
    kind: type[OnlineEstimator],
    settings: dict[str, Any],
    params: dict[str, Any],
    state: dict[str, Any],
) -> OnlineEstimator:
    estimator = kind(**settings)
    estimator._params = params  # those of the next `fit`
    estimator.restore_state(state)
    return estimator
