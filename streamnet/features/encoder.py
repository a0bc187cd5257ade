"""The encoder: turns blocks of a stream into network inputs and targets, learning in one pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any, Self, Unpack, final

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError, ModelFileError
from streamnet.features.autoencoder.network import AutoEncoderTransformer
from streamnet.features.base import NO_LAGS, defer_copy
from streamnet.features.columns.category import NumberedNames
from streamnet.features.columns.label import RETIRED, ClassRedirects, LabelEncoder, MovedClass
from streamnet.features.columns.target import (
    NO_TARGETS,
    RAW_UNITS,
    ScaledTargets,
    TargetLags,
    TargetScaler,
    TargetUnits,
)
from streamnet.features.forecasts.history import NO_FORECASTS, Forecasts, TargetHistory, TargetRows
from streamnet.features.frozen import FrozenInputs
from streamnet.features.inputs import InputEncoder
from streamnet.features.layout import SHARED, TRUNCATED
from streamnet.features.snapshot import EncoderSnapshot, EncoderStatistics
from streamnet.features.statistics import as_float64
from streamnet.samples import Block, ClassChange, Field, Given, Inputs, Sample, Task, Timeline
from streamnet.settings.encoder import EncoderSettings
from streamnet.settings.fields import build_settings, list_settings, with_settings
from streamnet.settings.keywords import EncoderKeywords
from streamnet.settings.learning import check_season
from streamnet.validation import check_integer

NO_SCORES = np.empty(0, np.float64)
NO_PENDING = np.empty(0, np.object_)


@final
class Encoded(Struct, frozen=True, eq=False, gc=False):
    """A block with its inputs and targets; arrays of the other task are empty."""

    block: Block  # without rejected samples
    inputs: Inputs
    label: NDArray[np.int32]  # shape=(n,), class by order of first appearance, -1 = no target
    known: NDArray[np.int32]  # shape=(n,), number of classes known before the sample
    goal: NDArray[np.float64]  # shape=(n,), target in standard units or raw, NaN = no target
    center: NDArray[np.float64]  # shape=(n,), mean of the targets before the sample
    spread: NDArray[np.float64]  # shape=(n,), their standard deviation, see target
    log_goal: NDArray[np.float64]  # this and the next two: the same for the logarithm of the target
    log_center: NDArray[np.float64]
    log_spread: NDArray[np.float64]
    outlier: NDArray[np.float64] = NO_SCORES  # shape=(n,); empty without auto-encoder
    raw: bool = False  # whether networks learn unscaled targets
    # Where labels arrive late, all other arrays but the scores have the rows of a timeline, and
    # numeric targets are here, shape=(rows,).
    timeline: Timeline | None = None
    target: NDArray[np.float64] = NO_SCORES
    weight: NDArray[np.float64] | None = None  # shape=(n,), of each sample; None: all are 1
    given: Given | None = None  # answers that callers got, where these are known
    # shape=(n, forecasts): what the known targets alone say, NaN for nothing; or empty
    forecasts: NDArray[np.float64] = NO_FORECASTS
    key: Sequence[str | None] | None = None  # of each sample, where keys have models of their own
    redirects: ClassRedirects | None = None  # of merged and retired classes; None without any
    moved: MovedClass | None = None  # what the block changes, which then has no samples
    labels: Sequence[str] = ()  # by class number, and perhaps of classes yet to come

    @property
    def new(self) -> NDArray[np.bool_] | slice:
        """The rows of samples that are predicted, without those of labels that have arrived."""
        return slice(None) if self.timeline is None else ~self.timeline.late

    @property
    def units(self) -> TargetUnits:
        """Units of predictions, for numeric targets."""
        if self.raw:
            return RAW_UNITS
        return TargetUnits(self.center, self.spread, self.log_center, self.log_spread)


NO_CLASSES = np.empty(0, np.int32)
NOTHING = Forecasts(NO_FORECASTS, NO_FORECASTS)
MAX_LAGS = 16
_DEFAULTS = {**EncoderSettings(scalings={}, texts={}).as_dict()}
del _DEFAULTS["autoencoder"]


@final
@with_settings(EncoderSettings)
class Encoder:
    """Encodes blocks as inputs and targets, learning from each sample first.

    Numbers are scaled by statistics that include the sample; categories, words and missing values
    are active rows, assigned in order of appearance. Results do not depend on how the stream is cut
    into blocks. A column that is constant so far is 0, unless unscaled.

    Use `encode` to learn a stream sample by sample. Use `fit` to learn a data set as a whole, and
    then `apply` or `transform` to encode any samples. The last targets before a sample, at most 16
    ``lags``, are inputs of networks that use them; if targets arrive late (``delayed``), so is the
    age of the last known one. With a ``season`` there are forecasts from the known
    targets alone; 0 finds the season, see `TargetHistory`. Unless without ``seasonal_lags``, they
    and targets a season ago are inputs as well.

    >>> from streamnet.samples import Block, Field, Kind, Schema, Task
    >>> schema = Schema((Field("x", Kind.NUMBER),), "y", Task.CLASSIFICATION)
    >>> numbers = np.array([[0.5], [1.5], [np.nan]])
    >>> target = np.array(["a", "b", "a"], object)
    >>> block = Block(schema, "-", numbers, (), target, np.zeros((4, 3), np.int64))
    >>> encoded = Encoder(task=Task.CLASSIFICATION).encode(block)
    >>> encoded.inputs.dense.tolist(), encoded.inputs.count.tolist(), encoded.label.tolist()
    ([[0.0], [1.0], [0.0]], [0, 0, 1], [0, 1, 0])
    """

    def __init__(
        self,
        *,
        task: Task,
        lags: int = 0,
        delayed: bool = False,
        season: int | None = None,
        seasonal_lags: bool = True,
        **settings: Unpack[EncoderKeywords],
    ) -> None:
        self.task: Task = Task(task)
        chosen = build_settings(EncoderSettings, settings, "Encoder")
        if not 0 <= check_integer("lags", lags) <= MAX_LAGS:
            raise ConfigurationError(f"lags is {lags}, but must be from 0 to {MAX_LAGS}")
        self._settings: dict[str, Any] = {"task": str(self.task), "lags": int(lags)}
        if delayed:
            self._settings["delayed"] = True
        self._history: TargetHistory | None = None
        self._next: Forecasts | None = None  # of the next sample, if this is a view
        if season is not None:
            self._settings["season"] = check_season(check_integer("season", season))
            self._history = TargetHistory(season=season, numeric=self.task is Task.REGRESSION)
            if not seasonal_lags:
                self._settings["seasonal_lags"] = False
        # Of the other settings, a state names those that are numbers or differ from their default.
        declared = list_settings(EncoderSettings)
        for name, value in chosen.as_dict().items():
            default = declared[name].default
            if isinstance(default, int | float) or value not in ({}, [], default):
                self._settings[name] = value
        self._coding = None
        if chosen.autoencoder is not None:
            self._coding = AutoEncoderTransformer(chosen.autoencoder, clip=chosen.clip)
        self._raw = chosen.target_scaling == "none"
        self._inputs = InputEncoder(chosen)
        if chosen.classes and self.task is Task.REGRESSION:
            raise ConfigurationError("classes is given, but the task is regression")
        self._labels = LabelEncoder(max_classes=chosen.max_classes, declared=chosen.classes)
        self._scaler = TargetScaler(clip=float(chosen.clip), raw=self._raw)
        more = self._history.lags if self._history and seasonal_lags else 0
        self._lags = TargetLags(lags=int(lags), clip=float(chosen.clip), aged=delayed, more=more)
        self._regression = self.task is Task.REGRESSION

    def keep_unscaled(self, numbers: int) -> None:
        """Give inputs up to so many `Inputs.unscaled` numbers from now on."""
        self._inputs.keep_unscaled(numbers)

    @property
    def settings(self) -> dict[str, Any]:
        """All settings, including defaults."""
        return {**_DEFAULTS, **self._settings}

    @property
    def labels(self) -> list[str]:
        """Labels by class number; append-only, not to be changed."""
        return self._labels.names

    @property
    def label_numbers(self) -> LabelEncoder:
        """The class numbers of labels."""
        return self._labels

    @property
    def fields(self) -> tuple[Field, ...]:
        """All columns so far."""
        return tuple(slot.field for slot in self._inputs.layout.slots)

    @property
    def lags(self) -> int:
        """Number of inputs that depend on the last targets."""
        return len(self._lags)

    @property
    def delayed(self) -> bool:
        """Whether networks with lags see how old the last known target is."""
        return "delayed" in self._settings

    @property
    def history(self) -> TargetHistory | None:
        """The known targets, if there are forecasts from them."""
        return self._history

    @property
    def scale(self) -> tuple[float, float]:
        """Mean of the numeric targets so far, and their standard deviation or 1."""
        return self._scaler.scale

    @property
    def units(self) -> TargetUnits:
        """Units of the prediction of the next sample."""
        return self._scaler.units

    @property
    def autoencoder(self) -> bool:
        """Whether there is an auto-encoder, which scores anomalies."""
        return self._coding is not None

    def encode(self, block: Block) -> Encoded:
        """Learn the next samples of the stream and encode them.

        Raises:
            SchemaError: If a field had another kind before.
        """
        self._inputs.turn_to(block.schema, learn=True)
        moved = None
        if isinstance(block.change, ClassChange):
            block, moved = self._change_classes(block, block.change)
        target = self._targets(block)
        if self._regression:
            scaled = self._scaler.update(target)
            numbers = as_float64(target)
            forecasts = self._forecast_numbers(numbers, scaled)
            lagged = NO_LAGS
            if self._lags:
                lagged = self._lags.numbers(numbers, *scaled[1:3], more=forecasts.lags)
            inputs, outlier = self._coded(self._inputs.inputs(block, lagged=lagged, learn=True))
            encoded = Encoded(
                block,
                inputs,
                NO_CLASSES,
                NO_CLASSES,
                *scaled,
                outlier,
                self._raw,
                forecasts=forecasts.numbers,
            )
            return encoded if block.weight is None else replace(encoded, weight=block.weight)
        numbered = self._labels.number(target)
        if numbered.refused:
            numbered, block = self._labels.drop_refused(numbered, block)
        forecasts = self._forecast_classes(numbered.label)
        lagged = NO_LAGS
        if self._lags:
            lagged = self._lags.classes(numbered.label, more=forecasts.lags)
        inputs, outlier = self._coded(self._inputs.inputs(block, lagged=lagged, learn=True))
        encoded = Encoded(
            block,
            inputs,
            numbered.label,
            numbered.known,
            *NO_TARGETS,
            outlier,
            forecasts=forecasts.numbers,
            redirects=self._labels.redirects,
            moved=moved,
            labels=self._labels.names,
        )
        return encoded if block.weight is None else replace(encoded, weight=block.weight)

    def expect_late_targets(self) -> None:
        """From now on, let networks see the last known target's age, and seasonal lags."""
        if self.delayed:
            return
        first = {name: self._settings[name] for name in ("task", "lags")}
        own = {name: value for name, value in self._settings.items() if name != "seasonal_lags"}
        self._settings = {**first, "delayed": True, **own}  # in the order of a restored encoder
        self._lags.expect_late_targets(self._history.lags if self._history else 0)

    def _change_classes(self, block: Block, change: ClassChange) -> tuple[Block, MovedClass | None]:
        """Merge or retire a class; an impossible change becomes a rejected record of the block."""
        try:
            if self._regression:
                raise ConfigurationError("there are no classes: the task is regression")
            moved = self._labels.change(change)
        except ConfigurationError as error:
            letter = self._labels.refuse_change(change, str(error), block.source, block.marks[0])
            return replace(block, change=None, rejected=(*block.rejected, letter)), None
        if moved.into != RETIRED:
            self._lags.merge_classes(*moved)
            if self._history is not None:
                self._history.merge_classes(*moved)
        return block, moved

    def _forecast_numbers(
        self, target: NDArray[np.float64], scaled: ScaledTargets, rows: TargetRows | None = None
    ) -> Forecasts:
        """Forecast numbers, if there is a history, and add them to it."""
        if self._history is None:
            return NOTHING
        center = np.stack((scaled.center, scaled.log_center))
        spread = np.stack((scaled.spread, scaled.log_spread))
        rows = rows or self._history.next_rows(len(target))
        return self._history.numbers(target, center, spread, rows)

    def _forecast_classes(
        self, label: NDArray[np.int32], rows: TargetRows | None = None
    ) -> Forecasts:
        """The same for classes."""
        if self._history is None:
            return NOTHING
        return self._history.classes(label, rows or self._history.next_rows(len(label)))

    def forecast_next(self) -> Forecasts:
        """What the known targets alone say about the next sample; nothing without a history."""
        if self._next is not None or self._history is None:
            return self._next or NOTHING
        center, spread = self._scaler.scales
        return self._history.build_next((center, spread))

    def encode_timeline(
        self,
        block: Block,
        timeline: Timeline,
        target: NDArray[Any],
        ages: NDArray[np.float64],
        age: float,
        merge: Callable[[Inputs], Inputs],
        rows: TargetRows | None = None,
        unlabeled: NDArray[np.float64] = NO_SCORES,
    ) -> Encoded:
        """Encode the next samples, and learn the targets that arrive between them.

        Args:
            block: The samples that are predicted.
            timeline: They and the arriving targets in order; m rows.
            target: Targets where the timeline is late, none elsewhere, shape=(m,).
            ages: How many samples ago the last known target was, shape=(m,); NaN for none.
            age: The same for the sample after all rows.
            merge: Puts the inputs of earlier samples among those of the block.
            rows: Which targets the rows are about, if there is a `history`.
            unlabeled: Numbers that become known before each row and are the label of none, NaN for
                none, shape=(m,); or empty.

        Raises:
            SchemaError: If a field had another kind before.
        """
        self._inputs.turn_to(block.schema, learn=True)
        self._lags.age = age
        label = known = NO_CLASSES
        scaled, lagged = NO_TARGETS, NO_LAGS
        if self._regression:
            scaled = self._scaler.update(target, unlabeled)
            forecasts = self._forecast_numbers(as_float64(target), scaled, rows)
            if self._lags:
                lagged = self._lags.numbers(as_float64(target), *scaled[1:3], ages, forecasts.lags)
        else:
            numbered = self._labels.number(target)
            label, known = numbered.label, numbered.known
            forecasts = self._forecast_classes(label, rows)
            if self._lags:
                lagged = self._lags.classes(label, ages=ages, more=forecasts.lags)
        if self._lags:
            new = ~timeline.late
            lagged = lagged._replace(keys=lagged.keys[new], values=lagged.values[new])
        inputs, outlier = self._coded(self._inputs.inputs(block, lagged=lagged, learn=True))
        targets = as_float64(target) if self._regression else NO_SCORES
        return Encoded(
            block,
            merge(inputs),
            label,
            known,
            *scaled,
            outlier,
            self._raw,
            timeline,
            targets,
            forecasts=forecasts.numbers,
            redirects=self._labels.redirects,
            labels=self._labels.names,
        )

    def refused(self, block: Block, pending: NDArray[Any] = NO_PENDING) -> list[int]:
        """Samples that `encode` would reject once ``pending`` labels are learned."""
        if self._regression or block.target is None:
            return []
        target, before = block.target, len(pending)
        if before:
            target = np.concatenate((pending, target))
        return [row - before for row in self._labels.refused(target) if row >= before]

    def accepted(self, block: Block, pending: NDArray[Any] = NO_PENDING) -> Block:
        """Return the samples before the first one that `encode` would reject, which is rejected."""
        refused = self.refused(block, pending)
        if not refused:
            return block
        refusal = self._labels.refusal(block, refused[0])
        return replace(block.part(0, refused[0]), rejected=(refusal,))

    def reject(self, block: Block, rows: Sequence[int]) -> Block:
        """Move samples with refused labels to the rejected records of their block."""
        return self._labels.reject(block, rows)

    def expect(self, block: Block) -> None:
        """Register the classes of a block before their first samples."""
        if block.target is not None:
            self._labels.number(block.target)

    def inherit(self) -> None:
        """Prepare for another stream, which may spell labels and categories differently.

        Learned truth values and integers are then recognized in each spelling.
        """
        for known in self._vocabularies:
            known.inherit()
        if self._history is not None:
            self._history.inherit()

    def fit(self, blocks: Iterable[Block]) -> Self:
        """Learn a whole data set.

        Text modes are chosen by the first texts before anything is learned, and duplicates are
        found among all samples. Blocks are kept until the end.
        """
        blocks = list(blocks)
        self._inputs.choose(blocks)
        for block in blocks:
            self.encode(block)
        self._inputs.settle()
        return self

    def apply(self, block: Block) -> Encoded:
        """Encode inputs and targets without learning.

        New labels count as missing (-1), and all goals are in the units of the targets so far.
        """
        inputs, target = self.transform(block), self._targets(block)
        if self._regression:
            scaled = self._scaler.apply(target)
            encoded = Encoded(block, inputs, NO_CLASSES, NO_CLASSES, *scaled, raw=self._raw)
            return encoded if block.weight is None else replace(encoded, weight=block.weight)
        known, label = np.full(len(block), len(self.labels), np.int32), self._labels.look_up(target)
        return Encoded(block, inputs, label, known, *NO_TARGETS, weight=block.weight)

    def inverse(self, inputs: Inputs) -> list[Sample]:
        """Decode samples from inputs, as dicts.

        Numbers and times (in seconds) are in units of their columns, as far as not clipped; missing
        ones are None. Categories, and texts in modes "dictionary" or "tokens", are values of their
        vocabularies; hashed ones are absent. Values that share a row are decoded as the first.

        >>> from streamnet.samples import Field, Kind, Schema
        >>> schema = Schema((Field("x", Kind.NUMBER), Field("job", Kind.CATEGORY)))
        >>> jobs = np.array(["cook", None, "smith"], object)
        >>> numbers = np.array([[0.0], [2.0], [4.0]])
        >>> block = Block(schema, "-", numbers, (jobs,), None, np.zeros((4, 3), np.int64))
        >>> encoder = Encoder(task=Task.CLASSIFICATION, scaling="minmax").fit([block])
        >>> encoder.inverse(encoder.transform(block))[1:]
        [{'x': 2.0, 'job': None}, {'x': 4.0, 'job': 'smith'}]
        """
        without_code = inputs if self._coding is None else self._coding.without_code(inputs)
        return self._inputs.inverse(without_code)

    @property
    def targets_seen(self) -> int:
        """Number of last targets that are inputs of networks with lags."""
        return len(self._lags.last)

    def transform(self, block: Block, last: NDArray[np.float64] | None = None) -> Inputs:
        """Encode inputs without learning; new values have no row.

        Args:
            block: The samples.
            last: Last targets before each sample, the latest first, shape=(n, `targets_seen`):
                class numbers or numbers, NaN where unknown. None takes those learned last.
        """
        lagged = NO_LAGS
        scale = self.scale if self._regression else None
        if self._lags and last is not None:
            lagged = self._lags.build_given(last, scale)
        elif self._lags:
            lagged = self._lags.build_next(len(block), scale, self.forecast_next().lags)
        inputs = self._inputs.inputs(block, lagged=lagged, learn=False)
        return inputs if self._coding is None else self._coding.transform(inputs)

    def outliers(self, block: Block) -> NDArray[np.float64]:
        """Compute anomaly scores, shape=(n,), without learning."""
        if self._coding is None:
            raise ConfigurationError("autoencoder is None, but must be given to score outliers")
        return self._coding.network.transform(self._inputs.inputs(block, learn=False)).score

    def decode(self, code: NDArray[np.floating]) -> list[Sample]:
        """Decode codes of the auto-encoder, shape=(n, code), to samples."""
        if self._coding is None:
            raise ConfigurationError("autoencoder is None, but must be given to decode")
        size = self._coding.settings.code
        if code.ndim != 2 or code.shape[1] != size:
            raise ConfigurationError(f"code has shape {code.shape}, but must have (n, {size})")
        return self._inputs.decode_reconstruction(self._coding.network.decode(code))

    def freeze(self) -> FrozenInputs:
        """Return the inputs, without those that depend on targets, as formulas and tables.

        Raises:
            ConfigurationError: If there is none of some part; the message has all reasons.
        """
        if self._coding is not None:
            raise ConfigurationError("it has an auto-encoder")
        return self._inputs.freeze()

    def statistics(self) -> EncoderStatistics:
        """Report how much of each limit is in use."""
        inputs, dense, described = self._inputs, self._inputs.layout.dense, self._inputs.describe()
        return EncoderStatistics(
            dense=dense if self._coding is None else self._coding.dense(dense),
            rows=len(inputs.rows),
            max_rows=len(inputs.rows.keys),
            shared=int(inputs.rows.counters[SHARED]),
            truncated=int(inputs.rows.counters[TRUNCATED]),
            classes=len(self.labels),
            categories=described.get("categories", {}),
            texts=described.get("texts", {}),
            dropped=inputs.dropped(),
        )

    def snapshot(self) -> EncoderSnapshot:
        """Take a snapshot, in time proportional to the number of fields."""
        parts = {
            **self._inputs.export_state(),
            "labels": defer_copy(self.labels),
            "inherited": [known.inherited for known in self._vocabularies],
            "target": self._scaler.moments.copy(),
            "last": self._lags.last.copy(),
        }
        if self._labels.redirects is not None:
            parts["redirects"] = self._labels.redirects.targets
        if self.delayed and math.isfinite(self._lags.age):
            parts["age"] = self._lags.age
        if self._history is not None:
            parts["history"] = self._history.export_state()
        if self._coding is not None:
            parts["autoencoder"] = self._coding.network.export_state()
        return EncoderSnapshot(self._settings, self.fields, len(self.labels), parts)

    def view(self) -> Encoder:
        """A copy that encodes as this one does now, while this one learns; it must not learn.

        What is only ever appended to is shared. Any number of threads may `transform` with it.
        """
        shared = [self._settings, self._labels.redirects, self._history]
        viewed = deepcopy(self, {**self._inputs.plan_view(), **{id(one): one for one in shared}})
        viewed._next = self.forecast_next()
        viewed._inputs.turn_to_known()
        return viewed

    def export_state(self) -> dict[str, Any]:
        """Export what was learned, as arrays and plain values."""
        return self.snapshot().materialize()

    @classmethod
    def restore_state(cls, state: Mapping[str, Any]) -> Encoder:
        """Restore an encoder exactly.

        Raises:
            ModelFileError: If the state is inconsistent.
        """
        try:
            encoder = cls(**state["settings"])
            encoder._restore(state)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ModelFileError(f"the encoder's state is damaged: {error}") from error
        return encoder

    def _restore(self, state: Mapping[str, Any]) -> None:
        inputs = self._inputs
        inputs.restore_state(state)
        self._labels.restore_state(state["labels"], state["inherited"][0])
        if "redirects" in state:
            self._labels.restore_redirects(state["redirects"])
        self._scaler.restore_state(state["target"])
        self._lags.restore_state(state["last"], state.get("age", math.nan))
        if self._history is not None:
            self._history.restore_state(state["history"])
        if self._coding is not None:
            dense, rows = inputs.layout.dense, len(inputs.rows)
            self._coding.network.restore_state(state["autoencoder"], dense=dense, rows=rows)

    @property
    def _vocabularies(self) -> list[NumberedNames]:
        """What learns words that another stream may spell otherwise: labels and categories."""
        return [self._labels, *self._inputs.vocabularies]

    def _targets(self, block: Block) -> NDArray[Any]:
        if block.target is None:
            return np.full(len(block), np.nan if self._regression else None)
        return block.target

    def _coded(self, inputs: Inputs) -> tuple[Inputs, NDArray[np.float64]]:
        """Add the code to the inputs and compute anomaly scores, learning the samples."""
        return (inputs, NO_SCORES) if self._coding is None else self._coding.learn(inputs)
