"""ServedModel: everything that answers at one moment, while learning goes on."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from streamnet.experts import ScoringBatch
from streamnet.features.encoder import NO_CLASSES, NO_SCORES, Encoder
from streamnet.features.snapshot import EncoderSnapshot
from streamnet.keyed.key_model import LiveKeys
from streamnet.learning.contenders import Contenders
from streamnet.learning.intervals import SERVED
from streamnet.learning.serving import ServingStage
from streamnet.learning.trainer import Snapshot, Trainer
from streamnet.modelfiles.columns import ModelSamples, align_columns, name_outputs
from streamnet.networks.frozen_population import predict_each
from streamnet.networks.population import NetworkOutputs, Population
from streamnet.samples import Block, Field, Inputs, Task, constant_column
from streamnet.selection.conformal import restore_tracker
from streamnet.settings.inference import OnUnknown


def combine_outputs(
    outputs: NetworkOutputs,
    inputs: Inputs,
    encoder: Encoder,
    contenders: Contenders,
    *,
    serves_ensemble: bool,
    without_lags: bool = False,
    key: Sequence[str | None] | None = None,
    block: Block | None = None,
) -> NDArray[Any]:
    """What is served of samples of which each might be the next; changes nothing.

    Args:
        outputs: Of all candidates, or of the one that is served.
        inputs: Inputs of the n samples.
        encoder: What made these.
        contenders: The ensemble.
        serves_ensemble: Whether it is served, instead of a candidate.
        without_lags: Whether the portable model is to answer.
        key: Of each sample, where models of keys are to correct the ensemble.
        block: The samples themselves, where there are guests.

    Returns:
        Probabilities (n, labels), at least one column, or numbers (n,); NaN where nothing is
        finite.
    """
    known, regression = len(encoder.labels), encoder.task is Task.REGRESSION
    answers: NDArray[Any] = outputs.outputs
    redirects = encoder.label_numbers.redirects
    if redirects is not None:
        answers = redirects.apply(answers, np.full(answers.shape[1], known))
    n, scale = len(inputs.count), None
    center = spread = NO_SCORES
    if regression:
        answers = encoder.units.numbers(answers[:, :, 0], outputs.logarithmic)
        scale = encoder.scale
        center, spread = (np.full(n, unit) for unit in scale)
    if serves_ensemble:
        batch = ScoringBatch(
            -1,
            answers,
            outputs.alive,
            NO_SCORES if regression else NO_CLASSES,
            NO_CLASSES if regression else constant_column(n, known, np.int32),
            center,
            spread,
            np.repeat(encoder.forecast_next().numbers, n, axis=0),
            key=key,
            inputs=inputs,
            redirects=redirects,
            block=block,
            labels=encoder.labels,
            fields=encoder.fields,
        )
        predictions = contenders.combine(batch, scale, without_lags=without_lags)
    else:
        predictions = answers[0]
        predictions[outputs.alive[0] == 0] = np.nan
    return predictions if regression else predictions[:, : max(known, 1)]


@final
class ServedModel:
    """What a learner serves at one moment, immutable: it predicts the next sample as that would.

    Unlike a `Model` to take home, it has the whole ensemble, the last known targets and their age,
    forecasts from them, and the candidates without a network. Guests do not predict, since they are
    objects that go on learning. Any number of threads may call it.

    Args:
        encoder: From `Encoder.view`.
        population: From `Population.freeze`.
        serving: What serves, at the same moment; copied as far as it changes.
        number: Number of the next sample.
    """

    def __init__(
        self, encoder: Encoder, population: Population, serving: ServingStage, number: int
    ) -> None:
        self.number: int = number
        self.task: Task = encoder.task
        self.labels: tuple[str, ...] = tuple(encoder.labels)
        self.fields: tuple[Field, ...] = encoder.fields
        self._encoder, self._population = encoder, population
        self._contenders: Contenders = serving.contenders.freeze()
        self._serves_ensemble, self._balances = serving.serves_ensemble, serving.balances
        self._slots: NDArray[np.int64] | None = None
        if not self._serves_ensemble:
            best = next(serving.rank_slots(population.healthy), 0)
            self._slots = np.array([best])
        self._intervals = None
        if serving.intervals is not None:
            self._intervals = restore_tracker(self.task, serving.intervals.model_state(SERVED))
        self._samples: ModelSamples | None = None

    @classmethod
    def of(cls, encoder: Encoder, trainer: Trainer, serving: ServingStage) -> ServedModel:
        """Freeze the parts of a learner, between two blocks."""
        return cls(encoder.view(), trainer.population.freeze(), serving, trainer.number)

    def share_reader(self, other: ServedModel | None) -> None:
        """Read samples with what another served model does, if it knows the same columns."""
        if other is not None and other.fields == self.fields:
            self._samples = other._samples

    def outputs(
        self, samples: Any, *, on_unknown: OnUnknown = "warn", keys: LiveKeys | None = None
    ) -> NDArray[np.float64]:
        """Predict probabilities, or one number in units of the target, shape=(n, outputs).

        Args:
            samples: As for `Model.predict`.
            on_unknown: As for `Model.predict`.
            keys: Corrects the predictions by the models of keys, as they are now.

        Raises:
            DataError: As for `Model.predict`; likewise SampleError and SchemaError.
        """
        parts = []
        for block in self.read_blocks(samples, on_unknown):
            if keys is not None:
                block = keys.add_targets(block)
            inputs = self._encoder.transform(block)
            known = max(len(self.labels), 1)
            networks = predict_each(self._population, inputs, known, self._slots)
            predicted = combine_outputs(
                networks,
                inputs,
                self._encoder,
                self._contenders,
                serves_ensemble=self._serves_ensemble,
            ).astype(np.float64, copy=False)
            if keys is not None:
                predicted = keys.correct(block, predicted, inputs.dense, len(self.labels))
            parts.append(predicted if predicted.ndim == 2 else predicted[:, np.newaxis])
        return np.concatenate(parts) if parts else np.empty((0, max(len(self.labels), 1)))

    def named(self, outputs: NDArray[np.float64]) -> NDArray[Any]:
        """Convert `outputs` to labels, as texts, or numbers."""
        if self.task is Task.REGRESSION:
            return outputs[:, 0]
        return name_outputs(outputs, self.labels, self.decide)

    def decide(self, probabilities: NDArray[np.float64]) -> NDArray[np.intp]:
        """The class numbers to predict by probabilities, shape=(n,)."""
        if self._balances:
            return self._contenders.decide(probabilities)
        best: NDArray[np.intp] = probabilities.argmax(axis=1)
        return best

    @property
    def interval(self) -> float | None:
        """Level of its prediction intervals or sets; None if it has none."""
        return None if self._intervals is None else self._intervals.level

    def intervals(self, outputs: NDArray[np.float64]) -> NDArray[Any]:
        """Convert `outputs` to intervals or sets, see `Model.intervals`."""
        assert self._intervals is not None
        numbers = outputs[:, 0] if self.task is Task.REGRESSION else outputs
        if (redirects := self._encoder.label_numbers.redirects) is not None:
            numbers = redirects.exclude(numbers)
        return self._intervals.predict(numbers)

    @property
    def changed_classes(self) -> dict[str, str | None]:
        """What became of merged and retired classes, see `Model.changed_classes`."""
        return self._encoder.label_numbers.changes

    def read_blocks(self, samples: Any, on_unknown: OnUnknown) -> list[Block]:
        """Read samples as blocks with the model's columns."""
        if isinstance(samples, Block):
            return [align_columns(samples, self.fields)]
        if self._samples is None:
            self._samples = ModelSamples(self.fields, ())
        return self._samples.read(samples, on_unknown)


def compose_snapshot(
    served: ServedModel, serving: ServingStage, encoder: EncoderSnapshot, finite: Collection[int]
) -> Snapshot | None:
    """The model to take home of a moment; None if no network in the ``finite`` slots is ranked."""
    population = served._population
    slots = serving.rank_slots(population.healthy)
    champion = next((slot for slot in slots if slot in finite), None)
    if champion is None:
        return None
    composition = serving.compose_model(champion, finite)
    rows, outputs = encoder.rows, max(encoder.classes, 1)
    copies = population.copy_networks(composition.slots, rows=rows, outputs=outputs)
    return Snapshot(
        population.members[champion],
        tuple(copies),
        composition.ensemble,
        encoder,
        served.number,
        composition.intervals,
    )
