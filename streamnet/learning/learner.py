"""The learner: encoder, trainer, evaluator and serving stage run in sequence in one thread.

The pipeline runs the same four stages concurrently; the results are bit-identical.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from inspect import signature
from typing import Any, Unpack, final

import numpy as np
from msgspec.structs import replace
from numpy.typing import DTypeLike, NDArray

from streamnet.durability.provenance import describe_differences
from streamnet.durability.row_files import RowFolder
from streamnet.errors import ConfigurationError, NoCandidateError, StateError
from streamnet.features.encoder import Encoded, Encoder
from streamnet.keyed import KeyedEncoder, KeyedModels
from streamnet.keyed.key_model import LiveKeys, export_key
from streamnet.keyed.rows import KeyedRows
from streamnet.keyed.rules import check_keyed
from streamnet.learning.evaluator import (
    LARGE_BLOCK,
    DeferredScoring,
    DriftWatch,
    Evaluator,
    build_scoring_batch,
)
from streamnet.learning.experts import build_experts
from streamnet.learning.guests import GuestCandidates, build_guests
from streamnet.learning.intervals import PORTABLE, SERVED
from streamnet.learning.joined_labels import JoiningEncoder
from streamnet.learning.label_delay import DelayedEncoder, LabelDelay
from streamnet.learning.served_model import ServedModel, combine_outputs
from streamnet.learning.serving import Served, ServingStage
from streamnet.learning.trainer import Snapshot, Trainer
from streamnet.metrics.formulas import nan_to_none
from streamnet.modelfiles.model import Model
from streamnet.samples import Block, ClassChange, Position, Schema, Task
from streamnet.selection.champion import Selector
from streamnet.selection.criteria import SampleLoss
from streamnet.selection.search import Evolution, default_population
from streamnet.settings.candidate import CandidateSettings
from streamnet.settings.encoder import EncoderSettings, has_raw_target
from streamnet.settings.fields import check_group, check_names, with_settings
from streamnet.settings.keywords import EncoderKeywords, LearningKeywords, SearchKeywords
from streamnet.settings.learning import (
    LearningSettings,
    SearchSettings,
    build_learning_settings,
    check_candidates,
    check_effort,
)
from streamnet.sources.base import make_empty_block
from streamnet.trees.boosted_trees import MAX_NUMBERS
from streamnet.validation import check_seed

ROUND = 1024  # samples
LAGS = {Task.CLASSIFICATION: 2, Task.REGRESSION: 3}  # last targets given to candidates with lags
_NO_CANDIDATE = "no sample was learned by a candidate with a finite network"


@final
@with_settings(LearningSettings)
class Learner:
    """Learns blocks with a population of candidates, in the calling thread.

    ``candidates`` are settings of each; None uses `default_population`. ``evolution`` are settings
    of the search for better ones; None disables it if candidates are given.

    ``start`` is a model to continue learning from: its networks become the candidates, with their
    weights and dtype, and its encoder and ensemble are kept. Optimizers and metrics start from
    zero.

    With ``forecasts``, numbers are forecast from the known targets alone as well, even if no season
    is given and no label is late: for streams whose samples are all predicted in their order.
    Networks then see no more than the last targets, which is what models can be asked with.

    With ``guests``, models of other libraries by name are candidates, too; see `Guest`.

    With ``late_labels``, a sample without target waits for its label, which arrives with a later
    block, see `Block.arrivals`.

    >>> from streamnet.sources.columns import Columns
    >>> from streamnet.sources.rows import RowReader
    >>> rows = [{"x": i % 2, "y": "ab"[i % 2]} for i in range(300)]
    >>> learner = Learner(task=Task.CLASSIFICATION)
    >>> served = learner.learn(RowReader(Columns(target="y")).read(rows))
    >>> served.answers.shape, learner.model().predict({"x": 1}).tolist()
    ((300, 2), ['b'])
    """

    def __init__(
        self,
        *,
        task: Task,
        candidates: Sequence[CandidateSettings] | None = None,
        seed: int = 0,
        dtype: DTypeLike = "float32",
        encoder: EncoderKeywords | None = None,
        evolution: SearchKeywords | None = None,
        start: Model | None = None,
        late_labels: bool = False,
        forecasts: bool = False,
        guests: Mapping[str, Any] | None = None,
        **learning: Unpack[LearningKeywords],
    ) -> None:
        check_names(learning, signature(Learner).parameters, "Learner")
        chosen = build_learning_settings(learning)
        check_group("encoder", encoder, EncoderSettings)
        check_group("evolution", evolution, SearchSettings)
        candidates = check_candidates(candidates)
        if start is not None:
            _check_start(start, task, {"candidates": candidates, "encoder": encoder})
            candidates = [network.settings for network in start.networks]
            dtype = start.networks[0].dtype
        delay = _build_delay(chosen)
        trees = chosen.trees_for(given=candidates is not None, effort=chosen.effort)
        check_effort(chosen.effort, given=candidates is not None, trees=trees)
        networks = candidates
        if networks is None:
            networks = default_population(
                encoder=encoder,
                delayed=delay is not None,
                keyed=bool(chosen.key),
                effort=chosen.effort,
            )
        settings = [one.for_task(Task(task)) for one in networks]
        if evolution is None:
            evolution = {} if candidates is None else {"every": 0}
        self.task: Task = Task(task)
        self._regression = self.task is Task.REGRESSION
        seed = check_seed(seed)
        self.seed: int = seed
        lags = LAGS[self.task] if any(one.lags for one in settings) else 0
        seasonal_lags = chosen.season is not None or delay is not None
        followed = forecasts and self._regression
        season = _find_season(chosen, found=delay is not None or followed)
        check_keyed(chosen, start=start)
        if start is None:
            options = EncoderKeywords(**(encoder or {}))
            if (coding := options.get("autoencoder")) is not None:
                options["autoencoder"] = {"seed": seed, **coding}
            self.encoder: Encoder = Encoder(
                task=self.task,
                lags=lags,
                delayed=delay is not None,
                season=season,
                seasonal_lags=seasonal_lags,
                **options,
            )
        else:
            self.encoder = start.encoder()
            self.encoder.inherit()
        unscaled = trees or chosen.series_for(given=candidates is not None)
        self._unscaled = MAX_NUMBERS if unscaled else 0
        self.encoder.keep_unscaled(self._unscaled)
        late = delay is not None
        self.keyed: KeyedEncoder | None = _build_keyed_encoder(chosen, self.encoder, late=late)
        self.delayed: DelayedEncoder | JoiningEncoder | None = None
        if late_labels:
            if delay is not None:
                given = "horizon" if chosen.horizon else "label_delay"
                raise ConfigurationError(f"{given} is given, but labels arrive when they do")
            self.delayed = JoiningEncoder(self.encoder, self.keyed)
        elif delay is not None:
            self.delayed = DelayedEncoder(self.encoder, delay, self.keyed)
        check_transforms(settings, self.encoder)
        self.trainer: Trainer = Trainer(settings, task=self.task, seed=seed, dtype=dtype)
        if start is not None:
            self.trainer.start_from([network.weights for network in start.networks], self.encoder)
        count = len(settings)
        self._evaluator = Evaluator(
            count, task=self.task, window=chosen.window, fading=chosen.fading
        )
        balanced = SampleLoss(self.task, chosen.criterion).balanced
        self._serving = ServingStage(
            self.trainer.population.members,
            task=self.task,
            selector=Selector(
                count, fading=chosen.fading, margin=chosen.margin, alpha=chosen.alpha
            ),
            evolution=Evolution(settings, seed=seed, balanced=balanced, **evolution),
            drift=DriftWatch(chosen.drift),
            serve=chosen.serve,
            criterion=chosen.criterion,
            window=chosen.window,
            fading=chosen.fading,
            interval=_choose_interval(chosen.interval, start),
            forecasts=self.encoder.history is not None,
            experts=build_experts(
                chosen,
                self.task,
                given=candidates is not None,
                forecasts=self.encoder.history is not None,
                guests=build_guests(guests, chosen, self.task),
            ),
            keyed=KeyedModels(self.task, resident=chosen.resident_keys) if chosen.key else None,
        )
        if start is not None:
            self._serving.start_from(start.ensemble_state, start.intervals_state)
        self._deferred = DeferredScoring()
        self.learns_due: bool = False
        """Whether labels that are known before the next sample are learned with those before it."""

    @property
    def evaluator(self) -> Evaluator:
        """The evaluator, with everything scored that was learned."""
        self.score_deferred()
        return self._evaluator

    @property
    def serving(self) -> ServingStage:
        """The serving stage, with everything scored that was learned."""
        self.score_deferred()
        return self._serving

    def adopt(self, evaluator: Evaluator) -> None:
        """Go on with another evaluator of the same state, between two blocks."""
        self._evaluator = evaluator

    def learn(self, block: Block, *, ends_round: bool = False) -> Served:
        """Predict, score and learn a block, none of whose samples lies beyond the round's end."""
        encoded = self._encode(block, due=self.learns_due and not ends_round)
        encoder_after = self.encoder.snapshot() if ends_round else None
        predicted = self.trainer.learn(encoded, encoder_after)
        served = self.serving.serve(self.evaluator.evaluate(predicted))
        if served.decision is not None:
            self.trainer.decide(served.decision)
        return served

    def _encode(self, block: Block, *, due: bool) -> Encoded:
        if due and isinstance(self.delayed, DelayedEncoder):
            return self.delayed.encode(block, due=True)
        return self.source.encode(block)

    def learn_deferred(self, block: Block, *, ends_round: bool = False) -> Served | None:
        """Learn a block like `learn`, or return None if the scoring of a small one is deferred.

        The ensemble learns at once. `score_deferred` does the rest before anything that depends on
        it: the properties ``evaluator`` and ``serving`` call it. Reading these therefore changes
        the learner, so only one thread at a time may, and none after an exception.
        """
        plain = block.scored and not ends_round and not self.trainer.at_start and not self.delayed
        plain = plain and block.change is None
        if not plain or not self._serving.serves_ensemble or len(block) >= LARGE_BLOCK:
            return self.learn(block, ends_round=ends_round)
        batch = build_scoring_batch(self.trainer.learn(self.source.encode(block), None), self.task)
        if not self._deferred.fits(batch):
            self.score_deferred()
        if self._deferred.add(batch, self._serving.contenders.predict_then_learn(batch)):
            self.score_deferred()
        return None

    def check_change(self, change: ClassChange) -> None:
        """Check that a change of the classes is possible; raises ConfigurationError if not."""
        check_class_change(self.encoder, change, keyed=self.keyed is not None)

    def change_classes(self, change: ClassChange) -> None:
        """Merge a class into another or retire it, before the next sample.

        Raises:
            ConfigurationError: If that is impossible.
        """
        self.check_change(change)
        schema = Schema(self.encoder.fields, None, self.task)
        self.learn(replace(make_empty_block(schema, Position()), change=change))

    @property
    def source(self) -> Encoder | DelayedEncoder | JoiningEncoder | KeyedEncoder:
        """What encodes the stream."""
        return self.delayed or self.keyed or self.encoder

    @property
    def guests(self) -> GuestCandidates | None:
        """The guests, if there are any."""
        guests = self._serving.contenders.experts.get("guests")
        assert guests is None or isinstance(guests, GuestCandidates)
        return guests

    @property
    def pending(self) -> int:
        """Number of predicted samples whose labels have not arrived."""
        return 0 if self.delayed is None else self.delayed.pending

    def learn_pending(self) -> None:
        """Learn the samples whose labels have not arrived, at the end of a stream."""
        self._learn_arrived(flushed=True)

    def learn_due(self) -> Served | None:
        """Learn samples whose labels are known before the next one; see ``learns_due``."""
        return self._learn_arrived(flushed=False)

    def _learn_arrived(self, *, flushed: bool) -> Served | None:
        if not isinstance(self.delayed, DelayedEncoder):
            return None
        encoded = self.delayed.flush() if flushed else self.delayed.encode_due()
        if encoded is None:
            return None
        return self._serving.serve(self.evaluator.evaluate(self.trainer.learn(encoded, None)))

    def score_deferred(self) -> None:
        """Score the blocks whose scoring `learn_deferred` has deferred."""
        if self._deferred:
            batch, predictions = self._deferred.pop_all()
            self._serving.score(batch, self._evaluator.losses(batch), predictions)

    def model(self) -> Model:
        """Build a portable model of what is served now; NoCandidateError if nothing is.

        Contains the champion alone, or all candidates without lags, the champion first.
        """
        slot, snapshot = self.best_snapshot()
        return build_model(snapshot, self.model_metadata(slot))

    def forget_key(self, key: str) -> bool:
        """Delete the model of a key and its last targets; return whether there were any."""
        forgotten = self.serving.contenders.forget_key(key)
        return (self.keyed is not None and self.keyed.forget(key)) or forgotten

    def key_model(self, key: str, **about: Any) -> Model:
        """Build a portable model of one known key, with more metadata ``about`` it.

        Its shared model is that of `model`.
        """
        slot, snapshot = self.best_snapshot()
        contents = snapshot.contents()
        if (intervals := self.serving.intervals) is not None:
            contents["intervals"] = intervals.model_state(SERVED)
        about = {**self.model_metadata(slot), "key": key, **about}
        return Model(**contents, about=about, key=self.export_key(key))

    def export_key(self, key: str) -> dict[str, Any]:
        """The model of a known key and its last targets, as part of a `Model`; in any thread."""
        assert self.keyed is not None
        assert self._serving.contenders.keyed is not None
        return export_key(self.keyed, self._serving.contenders.keyed, key)

    @property
    def live_keys(self) -> LiveKeys | None:
        """What corrects predictions of the shared model, while keys go on learning."""
        models = self._serving.contenders.keyed
        return None if self.keyed is None or models is None else LiveKeys(self.keyed, models)

    @property
    def ready(self) -> bool:
        """Whether there are networks to predict with, from learned samples or a start model."""
        return self.trainer.population.capacity.outputs > 0

    def best_slot(self) -> int:
        """Return the slot of the champion, or of the best healthy candidate."""
        for slot in self._rank_slots():
            return slot
        raise NoCandidateError(_NO_CANDIDATE)

    def best_snapshot(self) -> tuple[int, Snapshot]:
        """Return the best slot whose weights are finite, with a copy of its model's networks.

        Unlike `best_slot`, this checks the weights themselves: the last sample may have broken a
        network that has not predicted since.
        """
        finite = self.trainer.population.find_finite_slots()
        for slot in self._rank_slots():
            if slot in finite:
                composition = self.serving.compose_model(slot, finite)
                return slot, self.trainer.snapshot(composition, self.encoder.snapshot())
        raise NoCandidateError(_NO_CANDIDATE)

    def predict(self, block: Block, *, without_lags: bool = False) -> NDArray[Any]:
        """Predict samples of which each might be the next; changes nothing.

        ``without_lags`` predicts like the portable model, which ignores the last targets; for
        samples from anywhere. Returns probabilities (n, labels), or numbers (n,); NaN where there
        is no finite prediction.
        """
        keys = None
        if self.keyed is None:
            inputs = self.encoder.transform(block)
        else:
            keys, inputs = self.keyed.transform(block)
        # The ensemble has learned the deferred samples already; the portable model has not.
        serving = self.serving if without_lags else self._serving
        population = self.trainer.population
        known = len(self.encoder.labels)
        slots = None
        if not serving.serves_ensemble:
            slot = self.best_slot()
            if without_lags:
                slot = serving.find_portable(slot, np.flatnonzero(population.healthy))
            slots = np.array([slot])
        return combine_outputs(
            population.predict(inputs, max(known, 1), slots),
            inputs,
            self.encoder,
            serving.contenders,
            serves_ensemble=serving.serves_ensemble,
            without_lags=without_lags,
            key=keys,
            block=block,
        )

    @property
    def balances(self) -> bool:
        """Whether `decide` may return another label than the most probable one."""
        return self._serving.balances

    def decide(self, probabilities: NDArray[np.floating]) -> NDArray[np.intp]:
        """Return the class numbers to predict by probabilities (n, labels) of `predict`.

        The most probable ones; if the ensemble is served and ``criterion`` is balanced, those with
        the largest ratio of probability to frequency.
        """
        return self._serving.decide(probabilities)

    def predict_intervals(
        self, predictions: NDArray[Any], *, without_lags: bool = False
    ) -> NDArray[Any]:
        """Compute the intervals or sets of what `predict` returned; changes nothing.

        Returns lower and upper bounds, shape=(n, 2), or whether each label is in the set,
        shape=(n, labels); see `ServedIntervals.predict`.

        Raises:
            ConfigurationError: If no ``interval`` is set.
        """
        intervals = self.serving.intervals
        if intervals is None:
            raise ConfigurationError(
                "interval is not given, but must be the level of prediction intervals, such as 0.9"
            )
        if (redirects := self.encoder.label_numbers.redirects) is not None:
            predictions = redirects.exclude(predictions)
        return intervals.predict(predictions, PORTABLE if without_lags else SERVED)

    def freeze(self) -> ServedModel:
        """What is served now, as it predicts the next sample; for use while learning goes on."""
        return ServedModel.of(self.encoder, self.trainer, self.serving)

    def _rank_slots(self) -> Iterator[int]:
        """Yield slots by rank; before the first sample, those of the start model in its order."""
        if self.trainer.number == 0 and self.ready:
            yield from range(len(self.trainer.population.members))
        yield from self.serving.rank_slots(self.trainer.population.healthy)

    def model_metadata(self, slot: int) -> dict[str, Any]:
        """Return the metadata of a model led by the candidate in a slot."""
        member = self.serving.members[slot]
        scores = self.evaluator.candidates.measures(slot)
        return {
            "candidate": member.serial,
            "born": member.born,
            "samples": self.trainer.number,
            "seed": self.seed,
            "scores": nan_to_none(scores),
            "served": nan_to_none(self.serving.measures()),
            **self.describe_absent(),
        }

    def describe_absent(self) -> dict[str, Any]:
        """What a model is without, as metadata: it can't contain guests."""
        return {} if self.guests is None else {"without_guests": self.guests.names}

    def keep_rows_in(self, folder: RowFolder) -> None:
        """Keep the rows of keys in files: an exported state then names those that it needs."""
        if self.keyed is not None:
            for rows in self.list_rows():
                rows.keep_in(folder)

    def list_rows(self) -> tuple[KeyedRows, KeyedRows]:
        """The last targets of keys and their models, where there are any."""
        models = self.serving.contenders.keyed
        assert self.keyed is not None
        assert models is not None
        return self.keyed.history.rows, models.rows

    def export_state(self) -> dict[str, Any]:
        """Return everything needed to resume, bit for bit."""
        return {
            "encoder": self.encoder.export_state(),
            "trainer": self.trainer.export_state(),
            "evaluator": self.evaluator.export_state(),
            "serving": self.serving.export_state(),
            "pending": self.delayed and self.delayed.export_state(),
            "keyed": self.keyed and self.keyed.export_state(),
        }

    def restore_state(self, state: dict[str, Any]) -> None:
        """Resume from the exported state of a learner with the same settings."""
        encoder = Encoder.restore_state(state["encoder"])
        if encoder.delayed and isinstance(self.delayed, JoiningEncoder):
            self.encoder.expect_late_targets()
        before, now = ({"encoder": one.settings} for one in (encoder, self.encoder))
        for difference in describe_differences(before, now):
            raise StateError(difference)
        self._deferred.clear()
        self.encoder = encoder
        self.encoder.keep_unscaled(self._unscaled)
        self.trainer.restore_state(state["trainer"], self.encoder.snapshot())
        self._evaluator.restore_state(state["evaluator"])
        self._serving.restore_state(state["serving"])
        if self.keyed is not None:
            self.keyed.restore_state(state["keyed"], self.encoder)
        if self.delayed is not None:
            self.delayed.restore_state(state["pending"], self.encoder, self.keyed)


def list_row_files(state: dict[str, Any]) -> list[str]:
    """The names of the files that the exported state of a learner needs; see `keep_rows_in`."""
    if state["keyed"] is None:
        return []
    return [name for table in list_row_tables(state) for name in table["rows"].get("files", ())]


def list_row_tables(state: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parts of an exported state that belong to `Learner.list_rows`."""
    return state["keyed"], state["serving"]["contenders"]["keyed"]


def check_class_change(encoder: Encoder, change: ClassChange, *, keyed: bool) -> None:
    """Check that a change of the classes of a learner is possible; see `Learner.check_change`.

    ``keyed`` tells whether keys have models of their own.
    """
    if encoder.task is Task.REGRESSION:
        raise ConfigurationError("there are no classes: the task is regression")
    if keyed:
        raise ConfigurationError(
            "classes can't be merged or retired where each key has a model of its own"
        )
    encoder.label_numbers.check_change(change)


def _choose_interval(interval: float | None, start: Model | None) -> float | None:
    """The level of intervals: that of a start model, unless another one is set."""
    return start.interval if interval is None and start is not None else interval


def _build_delay(settings: LearningSettings) -> LabelDelay | None:
    """When labels become known, at one horizon at most."""
    delay, *others = LabelDelay.build_all(**vars(settings))
    if others:
        raise ConfigurationError(
            f"horizon is {settings.horizon!r}, but must be one: a Pipeline learns several"
        )
    return delay


def _check_start(start: Any, task: Task, others: Mapping[str, object]) -> None:
    """Refuse a model for another task, and settings that the model itself determines."""
    if not isinstance(start, Model):
        raise ConfigurationError(f"start is {start!r}, but must be a Model")
    if start.key is not None:
        raise ConfigurationError(
            f"start is the model of key {start.key!r}, but must be one of all samples"
        )
    if start.task is not Task(task):
        raise ConfigurationError(f"start is for {start.task}, but the task is {Task(task)}")
    for name, value in others.items():
        if value is not None:
            raise ConfigurationError(f"{name} is given, but start has its own")


def _find_season(settings: LearningSettings, *, found: bool) -> int | None:
    """Samples of a season of the stream; 0 if one is to be ``found``, None without forecasts.

    With a key, it is the key's.
    """
    if settings.key:
        return None
    return 0 if settings.season is None and found else settings.season


def _build_keyed_encoder(
    settings: LearningSettings, encoder: Encoder, *, late: bool
) -> KeyedEncoder | None:
    if not settings.key:
        return None
    resident, season = settings.resident_keys, settings.season or 0
    return KeyedEncoder(encoder, settings.key, resident=resident, season=season, late=late)


def check_transforms(candidates: Sequence[CandidateSettings], encoder: Encoder) -> None:
    """Refuse target transforms if the encoder leaves targets unscaled."""
    for settings in candidates:
        if settings.target_transform != "none" and has_raw_target(encoder.settings):
            raise ConfigurationError(
                f"target_transform is {settings.target_transform!r}, but must be 'none' where "
                "target_scaling is"
            )


def build_model(snapshot: Snapshot, about: dict[str, Any]) -> Model:
    """Build a model with metadata from a snapshot."""
    return Model(**snapshot.contents(), about=about)
