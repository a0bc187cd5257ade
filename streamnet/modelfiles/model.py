"""Model: encoder, networks, labels and metadata; immutable, and able to predict."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from copy import copy
from itertools import compress
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError, ModelFileError, StreamnetError
from streamnet.features.encoder import Encoder
from streamnet.html_tables import list_some, render_properties
from streamnet.keyed.key_model import Correction, KeyModel
from streamnet.modelfiles.columns import ModelSamples, align_columns, name_outputs
from streamnet.modelfiles.document import (
    CONTRADICTIONS,
    Document,
    build_document,
    build_model_parts,
    check_weights,
    read_bytes,
    read_document,
    to_network,
    write_bytes,
    write_document,
)
from streamnet.modelfiles.formats import find_export
from streamnet.modelfiles.last_targets import read_last_targets
from streamnet.networks.frozen_population import FrozenPopulation, Network
from streamnet.networks.neural_network import NeuralNetwork
from streamnet.networks.parameters import Weights
from streamnet.samples import Block, Field, Inputs, Kind, Sample, Task
from streamnet.selection.conformal import restore_tracker
from streamnet.selection.ensemble.labels import LabelEnsemble
from streamnet.selection.ensemble.registry import build_averaging_state, restore_ensemble
from streamnet.settings.candidate import CandidateSettings, describe_networks
from streamnet.settings.inference import OnUnknown
from streamnet.sources.frames import SamplesLike


@final
class Model:
    """One network or an ensemble of networks, with their encoder; immutable.

    Any number of threads may call it at once.

    Args:
        encoder: State of the encoder, from `Encoder.export_state`.
        networks: Settings and weights of each network, the best one first.
        ensemble: State of the ensemble, from its `export_state`; None for a single network.
        dtype: Type of the weights, float32 or float64.
        about: Metadata, JSON-serializable: target, scores, position, seed.
        intervals: State of its prediction intervals; None if it has none.
        key: State of the model of one key, see `KeyModel`; None for all samples.
        classes: The labels as they were learned, strings, numbers or booleans, in the order of
            `labels`, which are their texts; None if all are texts.

    Raises:
        ModelFileError: If parts are inconsistent or a weight is not finite.

    >>> import streamnet
    >>> learner = streamnet.OnlineRegressor(seed=1)
    >>> for x in range(100):
    ...     learner.learn_one({"x": x % 10}, 2.0 * (x % 10))
    >>> model = learner.model()
    >>> round(model.predict({"x": 3})[0])
    6
    """

    def __init__(
        self,
        *,
        encoder: Mapping[str, Any],
        networks: Sequence[tuple[CandidateSettings, Weights]],
        ensemble: Mapping[str, Any] | None = None,
        dtype: str = "float32",
        about: Mapping[str, Any] | None = None,
        intervals: Mapping[str, Any] | None = None,
        key: Mapping[str, Any] | None = None,
        classes: Sequence[Any] | None = None,
    ) -> None:
        self._encoder_state = dict(encoder)
        self._encoder = Encoder.restore_state(encoder)
        self.about: dict[str, Any] = dict(about or {})
        self.task: Task = self._encoder.task
        self.labels: tuple[str, ...] = tuple(self._encoder.labels)
        self.classes: tuple[Any, ...] = self.labels if classes is None else tuple(classes)
        if len(self.classes) != len(self.labels):
            raise ModelFileError(
                f"there are {len(self.classes)} classes, but {len(self.labels)} labels"
            )
        self._redirects = self._encoder.label_numbers.redirects
        self.fields: tuple[Field, ...] = tuple(
            Field(name, Kind(kind)) for name, kind in encoder["fields"]
        )
        for settings, weights in networks:
            check_weights(weights, settings, dtype, self._encoder)
        self._ensemble_state = None if ensemble is None else dict(ensemble)
        # The state of an ensemble of all networks, for who goes on with them.
        self.ensemble_state: dict[str, Any] = self._ensemble_state or build_averaging_state(
            self.task, len(networks)
        )
        self._ensemble = None if ensemble is None else restore_ensemble(self.task, dict(ensemble))
        self.intervals_state: dict[str, Any] | None = None if intervals is None else dict(intervals)
        self._intervals = None if intervals is None else restore_tracker(self.task, intervals)
        self._key_state = None if key is None else dict(key)
        self._key = None if key is None else KeyModel(self.task, key)
        needed = 1 if self._ensemble is None else self._ensemble.candidates
        lagged = [settings.lags for settings, _ in networks]
        if self._ensemble is None and lagged == [True, False]:
            needed = 2  # the second one predicts where the last targets are unknown
        if len(networks) != needed:
            raise ModelFileError(f"there are {len(networks)} networks, but {needed} are needed")
        self._population = FrozenPopulation(
            [Network(settings, weights) for settings, weights in networks],
            task=self.task,
            dtype=dtype,
            lags=self._encoder.lags,
        )
        self._samples = ModelSamples(self.fields, self.expected_columns)

    @property
    def networks(self) -> tuple[Network, ...]:
        """Settings and weights of each network, the best one first."""
        return self._population.networks

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the weights."""
        return self._population.dtype

    @classmethod
    def of(cls, network: NeuralNetwork, names: Sequence[str] | None = None) -> Model:
        """Build a model that computes what ``network`` computes now, from raw numbers.

        One output makes a regression model; several make a classification model, whose
        probabilities are the outputs divided by their sum.

        Args:
            network: The network, which is copied.
            names: Names of the inputs; None uses f0, f1, ...

        Raises:
            ConfigurationError: If there is not one distinct name per input, or outputs lack labels.

        >>> from streamnet import NeuralNetwork
        >>> model = Model.of(NeuralNetwork(2, labels=("R", "M")), names=["x", "y"])
        >>> [field.name for field in model.fields], model.labels
        (['x', 'y'], ('R', 'M'))
        """
        return cls(**build_model_parts(network, names))

    def neural_network(self) -> NeuralNetwork:
        """Return a copy of the single network of a model with raw numeric inputs.

        Raises:
            ConfigurationError: If the model is more than that: several networks, scaled inputs,
                categories, ...; the message says what.
        """
        return to_network(self.networks, self._encoder_state, self._ensemble_state, self.about)

    def encoder(self) -> Encoder:
        """Return a copy of the encoder, which can learn."""
        return Encoder.restore_state(self._encoder_state)

    @property
    def settings(self) -> CandidateSettings:
        """Settings of the best network."""
        return self.networks[0].settings

    def describe(self) -> str:
        """Describe the networks in a few words."""
        return describe_networks([settings for settings, _ in self.networks])

    @property
    def changed_classes(self) -> dict[str, str | None]:
        """What became of classes that were merged or retired: the other label, or None.

        They keep their place in `labels`, but get no probability.
        """
        return self._encoder.label_numbers.changes

    @property
    def key(self) -> str | None:
        """The key whose samples it predicts; None if it is not the model of a key."""
        return None if self._key is None else self._key.key

    @property
    def key_columns(self) -> tuple[str, ...]:
        """Columns of the `key`; empty if there is none."""
        return () if self._key is None else self._key.columns

    @property
    def needs_last_targets(self) -> int:
        """Number of last targets that its best network needs to predict; 0 if it needs none."""
        return self._encoder.targets_seen if self.settings.lags else 0

    # ---------------------------------------------------------------- prediction

    def _repr_html_(self) -> str:
        columns = [f"{field.name} ({field.kind})" for field in self.fields]
        shown = {"task": self.task, "networks": f"{len(self.networks)}", "columns": columns}
        shown |= {} if self.task is Task.REGRESSION else {"labels": self.labels}
        return render_properties(type(self).__name__, {n: list_some(v) for n, v in shown.items()})

    def predict(
        self,
        samples: Sample | SamplesLike | Block,
        *,
        last_targets: Any = None,
        on_unknown: OnUnknown = "warn",
    ) -> NDArray[Any]:
        """Predict a label (object array of str) or a number (float64) for each sample, shape=(n,).

        Absent features count as missing. Where the networks have no finite output, a label is None
        and a number is NaN.

        Args:
            samples: One dict or row of a frame; or many: a list of dicts, a data frame (polars,
                pandas or pyarrow), a matrix, whose columns are called f0, f1, ..., or a block.
            last_targets: Last known targets before the samples in order, the latest last, or such a
                list for each sample; None and NaN stand for unknown ones. A model whose best
                network needs them (`needs_last_targets`) predicts with another one if they are not
                given; to other models they make no difference.
            on_unknown: What to do with names that the model does not know, other than that of its
                target: "warn" logs a warning with what may have been meant, "ignore" does not,
                "raise" raises an error. A sample without any known feature is always refused.

        Raises:
            DataError: If the samples or the last targets have another type.
            SampleError: If a value cannot be read, a sample has no feature that the model knows, or
                one that it does not and ``on_unknown`` is "raise".
            SchemaError: If the same is true of the columns of a frame; if a matrix does not have
                exactly the model's columns, or a column of a block has another kind.
        """
        outputs = self.outputs(samples, last_targets=last_targets, on_unknown=on_unknown)
        return self._name(outputs, self.classes)

    def named(self, outputs: NDArray[np.float64]) -> NDArray[Any]:
        """Convert `outputs` to what `predict` returns, but labels as texts.

        Args:
            outputs: Probabilities or numbers, shape=(n, outputs).
        """
        return self._name(outputs, self.labels)

    def _name(self, outputs: NDArray[np.float64], classes: Sequence[Any]) -> NDArray[Any]:
        if self.task is Task.REGRESSION:
            return outputs[:, 0]
        return name_outputs(outputs, classes, self.decide)

    def decide(self, outputs: NDArray[np.float64]) -> NDArray[np.intp]:
        """Return the class number to predict for each row of probabilities, shape=(n,).

        The most probable one; of a model learned with the criterion balanced_accuracy the one with
        the largest ratio of probability to frequency.

        Args:
            outputs: Probabilities, shape=(n, labels).
        """
        if isinstance(self._ensemble, LabelEnsemble):
            return self._ensemble.decide(outputs)
        best: NDArray[np.intp] = outputs.argmax(axis=1)
        return best

    def predict_proba(
        self,
        samples: Sample | SamplesLike | Block,
        *,
        last_targets: Any = None,
        on_unknown: OnUnknown = "warn",
    ) -> NDArray[np.float64]:
        """Predict the probability of each label, in the order of `labels`, shape=(n, labels).

        Args:
            samples: As for `predict`.
            last_targets: As for `predict`.
            on_unknown: As for `predict`.

        Raises:
            ConfigurationError: If the task is regression.
            DataError: As for `predict`; likewise SampleError and SchemaError.
        """
        if self.task is Task.REGRESSION:
            raise ConfigurationError("task is 'regression', but probabilities need classification")
        return self.outputs(samples, last_targets=last_targets, on_unknown=on_unknown)

    def outputs(
        self,
        samples: Sample | SamplesLike | Block,
        *,
        last_targets: Any = None,
        on_unknown: OnUnknown = "warn",
        keys: Correction | None = None,
    ) -> NDArray[np.float64]:
        """Predict probabilities, or one number in units of the target, shape=(n, outputs).

        Args:
            samples: As for `predict`.
            last_targets: As for `predict`.
            on_unknown: As for `predict`.
            keys: Corrects the predictions by the models of keys; by default that of the `key`.

        Raises:
            DataError: As for `predict`; likewise SampleError and SchemaError.
        """
        correction = self._key if keys is None else keys
        blocks, last, parts, start = self.read_blocks(samples, on_unknown), None, [], 0
        if last_targets is not None:
            last = read_last_targets(self._encoder, last_targets, sum(map(len, blocks)))
        for block in blocks:
            rows = None if last is None else last[start : start + len(block)]
            if correction is not None:
                block = correction.add_targets(block)
            inputs = self._encoder.transform(block, rows)
            predicted = self._predict(inputs, with_last=last is not None)
            if correction is not None:
                predicted = self._correct(correction, block, predicted, inputs)
            parts.append(predicted)
            start += len(block)
        return np.concatenate(parts) if parts else np.empty((0, self._population.outputs))

    @property
    def interval(self) -> float | None:
        """Level of its prediction intervals or sets; None if it has none."""
        return None if self._intervals is None else self._intervals.level

    def predict_interval(
        self, samples: Sample | SamplesLike | Block, *, on_unknown: OnUnknown = "warn"
    ) -> NDArray[np.float64]:
        """Predict an interval around the number of each sample, shape=(n, 2): lower and upper.

        Its width is that of the model's last errors while it was learning. NaN where the networks
        have no finite output.

        Args:
            samples: As for `predict`.
            on_unknown: As for `predict`.

        Raises:
            ConfigurationError: If the task is classification, or the model was learned without
                ``interval``.
            DataError: As for `predict`; likewise SampleError and SchemaError.
        """
        self._check_intervals(Task.REGRESSION, "predict_interval")
        return self.intervals(self.outputs(samples, on_unknown=on_unknown))

    def predict_set(
        self, samples: Sample | SamplesLike | Block, *, on_unknown: OnUnknown = "warn"
    ) -> list[set[Any]]:
        """Predict a set of labels for each sample; empty where no label is likely enough.

        Args:
            samples: As for `predict`.
            on_unknown: As for `predict`.

        Raises:
            ConfigurationError: If the task is regression, or the model was learned without
                ``interval``.
            DataError: As for `predict`; likewise SampleError and SchemaError.
        """
        self._check_intervals(Task.CLASSIFICATION, "predict_set")
        rows = self.intervals(self.outputs(samples, on_unknown=on_unknown))
        return [set(compress(self.classes, row)) for row in rows.tolist()]

    def _check_intervals(self, task: Task, name: str) -> None:
        if self.task is not task:
            raise ConfigurationError(f"task is {str(self.task)!r}, but {name} needs {task}")
        if self._intervals is None:
            raise ConfigurationError(
                f"interval was not given when the model was learned, but {name} needs it"
            )

    def intervals(self, outputs: NDArray[np.float64]) -> NDArray[Any]:
        """Convert `outputs` of a model that has an `interval` to intervals, or sets.

        Args:
            outputs: Probabilities or numbers, shape=(n, outputs).

        Returns:
            Lower and upper bounds, shape=(n, 2), or whether each label is in the set, shape=(n,
            labels).
        """
        assert self._intervals is not None
        numbers = outputs[:, 0] if self.task is Task.REGRESSION else outputs
        if self._redirects is not None:
            numbers = self._redirects.exclude(numbers)
        return self._intervals.predict(numbers)

    def outlier_scores(
        self, samples: Sample | SamplesLike | Block, *, on_unknown: OnUnknown = "warn"
    ) -> NDArray[np.float64]:
        """Compute the outlier score of each sample, shape=(n,), see `streamnet.AutoEncoder.score`.

        Args:
            samples: As for `predict`.
            on_unknown: As for `predict`.

        Raises:
            ConfigurationError: If the model has no auto-encoder.
            DataError: As for `predict`; likewise SampleError and SchemaError.
        """
        parts = [self._encoder.outliers(block) for block in self.read_blocks(samples, on_unknown)]
        return np.concatenate(parts) if parts else np.empty(0)

    def _predict(self, inputs: Inputs, *, with_last: bool) -> NDArray[np.float64]:
        slots = None
        if self._ensemble is None:  # of two, the second one predicts without last targets
            slots = np.array([0 if with_last else len(self.networks) - 1])
        predicted = self._population.predict(inputs, slots)
        outputs, alive = predicted.outputs, predicted.alive
        if self._redirects is not None:
            outputs = self._redirect(outputs)
        if isinstance(self._ensemble, LabelEnsemble):
            answers = self._ensemble.answer(outputs, alive, len(self.labels))
            return answers if self._redirects is None else self._redirect(answers)
        if self.task is Task.REGRESSION:
            numbers = self._encoder.units.numbers(outputs[:, :, 0], predicted.logarithmic)
            if self._ensemble is not None:
                return self._ensemble.answer(numbers, alive, self._encoder.scale)[:, None]
            single: NDArray[np.float64] = numbers[0][:, None]
        else:
            single = outputs[0].astype(np.float64)
        single[alive[0] == 0] = np.nan
        return single

    def _correct(
        self, keys: Correction, block: Block, shared: NDArray[np.float64], inputs: Inputs
    ) -> NDArray[np.float64]:
        """The predictions for keys, shape=(n, outputs)."""
        if self.task is Task.REGRESSION:
            return keys.correct(block, shared[:, 0], inputs.dense, 0)[:, None]
        return keys.correct(block, shared, inputs.dense, len(self.labels))

    def _redirect(self, probabilities: NDArray[Any]) -> NDArray[Any]:
        """Give merged and retired classes no probability, shape=(..., n, labels)."""
        assert self._redirects is not None
        known = np.full(probabilities.shape[-2], len(self.labels))
        return self._redirects.apply(probabilities, known)

    def read_blocks(self, samples: Any, on_unknown: OnUnknown) -> list[Block]:
        """Read samples as blocks with the model's columns."""
        if isinstance(samples, Block):
            return [align_columns(samples, self.fields)]
        return self._samples.read(samples, on_unknown)

    @property
    def expected_columns(self) -> list[str]:
        """Columns that samples may have besides its inputs: target, weight and id."""
        return [n for n in map(self.about.get, ("target", "weight", "id")) if isinstance(n, str)]

    # ------------------------------------------------------------------ files

    def with_classes(self, classes: Sequence[Any]) -> Model:
        """The same model with labels as they were learned, see ``classes``."""
        if tuple(classes) == self.labels:
            return self
        named = copy(self)
        named.classes = tuple(classes)
        return named

    def document(self) -> Document:
        """Return the model as plain values and arrays, with a checksum."""
        return build_document(
            encoder=self._encoder_state,
            networks=self.networks,
            ensemble=self._ensemble_state,
            dtype=self.dtype.name,
            about=self.about,
            intervals=self.intervals_state,
            key=self._key_state,
            classes=None if self.classes == self.labels else list(self.classes),
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return Model.from_document, (self.document(),)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model atomically in the format of the suffix: .safetensors or .json.

        The file is on disk on return.

        Args:
            path: Path of the file.

        Raises:
            ConfigurationError: If no format has the suffix.
            ModelFileError: If the file cannot be written.
        """
        write_document(path, self.document())

    def export(self, path: str | os.PathLike[str], format: str | None = None) -> None:  # noqa: A002
        """Write the model atomically for another program; it is on disk on return.

        Args:
            path: Path of the file.
            format: "onnx" (needs the extra `onnx`), "c" for C99 source code, "gopher" for the file
                of gopher-neural, or a format of `save`; None: by the suffix, .onnx, .c or .json.

        Raises:
            ConfigurationError: If there is no such format, or it cannot represent the model; the
                message says why.
            ModelFileError: If the file cannot be written.
        """
        write_bytes(path, find_export(format, Path(path).suffix).encode(self.document()))

    @classmethod
    def from_gopher(
        cls,
        path: str | os.PathLike[str],
        *,
        names: Sequence[str] | None = None,
        learning_rate: float = 0.05,
    ) -> Model:
        """Read a file of gopher-neural, go-neural or gopher-learn.

        Args:
            path: Path of the file.
            names: Names of the inputs; None uses f0, f1, ...
            learning_rate: Learning rate of the network if it continues to learn.

        Raises:
            ConfigurationError: If there is not one distinct name per input, or the learning rate is
                not above 0.
            ModelFileError: If the file cannot be read or is invalid; the message says where.
        """
        from streamnet.modelfiles.gopher_format import decode_network

        network = decode_network(read_bytes(path), str(path), learning_rate=learning_rate)
        return cls.of(network, names)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Model:
        """Read a model that was saved, or exported in a loadable format.

        Files of gopher-neural, go-neural and gopher-learn are recognized by their content; their
        inputs are called f0, f1, ...

        Args:
            path: Path of the file.

        Raises:
            ModelFileError: If the file cannot be read, is damaged, in another format or of another
                version.
        """
        return cls.from_document(read_document(path), str(path))

    @classmethod
    def from_document(cls, document: Document, where: str = "document") -> Model:
        """Restore a model from its `document`.

        Args:
            document: The document.
            where: Name of its origin in error messages.

        Raises:
            ModelFileError: If parts are missing or inconsistent.
        """
        try:
            networks = [document["networks"][str(k)] for k in range(len(document["networks"]))]
            # Overflow in a cast means damage, so it is an error and no warning.
            with np.errstate(invalid="raise", over="raise"):
                model = cls(
                    encoder=document["encoder"],
                    networks=[
                        (CandidateSettings.from_dict(part["settings"]), part["weights"])
                        for part in networks
                    ],
                    ensemble=document["ensemble"],
                    dtype=document["dtype"],
                    about=document["about"],
                    intervals=document.get("intervals"),
                    key=document.get("key"),
                    classes=document.get("classes"),
                )
            stated = (document["task"], document["labels"]) == (model.task, list(model.labels))
        except StreamnetError as error:
            raise ModelFileError(f"{where}: {error}") from error
        except CONTRADICTIONS as error:
            raise ModelFileError(f"{where} is damaged: {error!r}") from error
        if not stated:
            raise ModelFileError(f"{where} is damaged: its task or labels are not its encoder's")
        return model
