"""Records a run in MLflow, and stores models there; it needs the extra `mlflow`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from time import time
from typing import Any, final

from streamnet.errors import ConfigurationError
from streamnet.modelfiles.model import Model
from streamnet.pipeline import Callback, Champion, Result
from streamnet.reporting.report import Drift, LearningStatus
from streamnet.sources.frames import SamplesLike
from streamnet.tracking.records import flatten_settings, list_metrics, qualify
from streamnet.validation import check_extra
from streamnet.version import DISTRIBUTION, __version__

TRUSTED_TYPES = [
    "streamnet.online.autoencoder.AutoEncoder",
    "streamnet.online.estimators.OnlineClassifier",
    "streamnet.online.estimators.OnlineRegressor",
    "streamnet.online.keyed.KeyedClassifier",
    "streamnet.online.keyed.KeyedRegressor",
    "streamnet.settings.candidate.CandidateSettings",
]
"""What stored estimators consist of, for ``mlflow.sklearn.log_model(skops_trusted_types=...)``."""

_DEFAULT_EXPERIMENT = "0"  # its ID
_LONGEST = 6000  # characters of a parameter
_FILE = "model.safetensors"
_METHODS = ("predict", "predict_proba")


@final
class MlflowCallback(Callback):
    """Records settings, scores, drifts and champions of a run, and its report and model, in MLflow.

    The metrics of each round have the number of its last sample as step. The run that is active
    where the callback is made goes on; without one, a run is created and ended.

    Args:
        experiment: Name of the experiment of a created run, which is made if it is new; None is
            the one that ``mlflow.set_experiment`` chose.
        run_name: Name of a created run.
        log_model: Whether the model to take home is stored as the artifact ``model.safetensors``.

    Raises:
        ConfigurationError: If MLflow is not installed.
        mlflow.MlflowException: If its server or store refuses.
    """

    def __init__(
        self, *, experiment: str | None = None, run_name: str | None = None, log_model: bool = True
    ) -> None:
        check_extra("mlflow", "mlflow")
        import mlflow

        self._client = mlflow.MlflowClient()
        self._run_name, self._has_model = run_name, log_model
        # The active run and experiment belong to this thread; callbacks are called in others.
        active = mlflow.active_run()
        self._is_own = active is None
        self._run_id = "" if active is None else active.info.run_id
        self._experiment_id = self._find_experiment(experiment) if self._is_own else ""

    def _find_experiment(self, name: str | None) -> str:
        if name is None:
            return os.environ.get("MLFLOW_EXPERIMENT_ID", _DEFAULT_EXPERIMENT)
        found = self._client.get_experiment_by_name(name)
        return str(self._client.create_experiment(name) if found is None else found.experiment_id)

    @property
    def run_id(self) -> str:
        """The run in MLflow; empty before learning begins, if it is created."""
        return self._run_id

    def on_start(self, settings: Mapping[str, Any]) -> None:
        """Create a run, unless one is active, and record the settings."""
        from mlflow.entities import Param

        if self._is_own:
            run = self._client.create_run(self._experiment_id, run_name=self._run_name)
            self._run_id = run.info.run_id
        flat = flatten_settings(settings)
        params = [Param(name, value[:_LONGEST]) for name, value in flat.items()]
        self._client.log_batch(self._run_id, params=params)

    def on_round(self, status: LearningStatus, part: str) -> None:
        """Record the scores."""
        self._log(list_metrics(status, part), status.learned)

    def on_drift(self, drift: Drift, part: str) -> None:
        """Record the loss after a drift, at the sample where it was detected."""
        self._log({qualify("drift_loss", part): drift.after}, drift.number)

    def on_champion(self, champion: Champion) -> None:
        """Record which candidate is champion."""
        self._log({qualify("champion", champion.part): champion.candidate}, champion.number)
        name = qualify("champion", champion.part)
        self._client.set_tag(self._run_id, name, champion.settings.describe())

    def on_end(self, result: Result) -> None:
        """Store report and model, and end the run if it was created."""
        for name, part in result.parts.items():
            with TemporaryDirectory() as folder:
                report = Path(folder, "report.json")
                report.write_text(json.dumps(part.report, indent=1))
                if self._has_model:
                    part.model.save(Path(folder, _FILE))
                place = qualify("", name).rstrip("/") or None
                self._client.log_artifacts(self._run_id, folder, place)
        if self._is_own:
            self._client.set_terminated(self._run_id)

    def on_error(self, error: BaseException) -> None:
        """Mark the run as failed if it was created."""
        if self._is_own and self._run_id:
            self._client.set_tag(self._run_id, "error", str(error))
            self._client.set_terminated(self._run_id, "FAILED")

    def _log(self, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time() * 1000)
        metrics = [Metric(name, value, now, step) for name, value in values.items()]
        self._client.log_batch(self._run_id, metrics=metrics)


# --------------------------------------------------------------------------------- models


def save_model(model: Model, path: str | os.PathLike[str], **settings: Any) -> None:
    """Save a model as a folder that ``mlflow.pyfunc.load_model`` loads.

    It holds our own file, from which no code is loaded. The loaded model predicts as
    `Model.predict` does, or, with ``mlflow.pyfunc.load_model(uri, model_config={"method":
    "predict_proba"})``, the probabilities of labels.

    Args:
        model: The model; one of an estimator is ``estimator.model()``.
        path: The folder, which must not exist.
        settings: More arguments of ``mlflow.pyfunc.save_model``.

    Raises:
        ConfigurationError: If MLflow is not installed.
        mlflow.MlflowException: If it refuses.
    """
    check_extra("mlflow", "mlflow")
    import mlflow.pyfunc

    _store(mlflow.pyfunc.save_model, model, {"path": os.fspath(path), **settings})


def log_model(model: Model, name: str = "model", **settings: Any) -> Any:
    """Store a model in the active run, as `save_model` does; returns MLflow's ``ModelInfo``.

    Args:
        model: The model; one of an estimator is ``estimator.model()``.
        name: Its name.
        settings: More arguments of ``mlflow.pyfunc.log_model``, such as ``registered_model_name``.

    Raises:
        ConfigurationError: If MLflow is not installed.
        mlflow.MlflowException: If its server or store refuses.
    """
    check_extra("mlflow", "mlflow")
    import mlflow.pyfunc

    return _store(mlflow.pyfunc.log_model, model, {"name": name, **settings})


def _store(store: Any, model: Model, settings: dict[str, Any]) -> Any:
    given = {
        "loader_module": __name__,
        "pip_requirements": [f"{DISTRIBUTION}=={__version__}"],
        "signature": _build_signature(model),
        "model_config": {"method": _METHODS[0]},  # MLflow lets no other setting be given later
    }
    with TemporaryDirectory() as folder:
        path = Path(folder, _FILE)
        model.save(path)
        return store(data_path=str(path), **{**given, **settings})


def _build_signature(model: Model) -> Any:
    """The columns of a model, all of which may be missing."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema
    from mlflow.types.schema import AnyType

    # Of any type: MLflow would refuse whole numbers where it expects others.
    inputs = [ColSpec(AnyType(), field.name, required=False) for field in model.fields]
    return ModelSignature(Schema(inputs), Schema([ColSpec(AnyType())]))


def load_model(path: str | os.PathLike[str]) -> Model:
    """Load a stored model as a `Model`.

    Args:
        path: A folder as `save_model` writes it; ``mlflow.artifacts.download_artifacts`` makes one
            of the address of a logged model.
    """
    return Model.load(Path(path, "data", _FILE))


class _Predictor:
    """A model as MLflow calls it."""

    def __init__(self, model: Model, method: str) -> None:
        if method not in _METHODS:
            raise ConfigurationError(f"method is {method!r}, but must be one of {_METHODS}")
        self._predict = getattr(model, method)

    def predict(self, samples: SamplesLike) -> Any:
        return self._predict(samples)


def _load_pyfunc(path: str, model_config: Mapping[str, Any] | None = None) -> _Predictor:
    """What MLflow calls to load the file of a model."""
    return _Predictor(Model.load(path), (model_config or {}).get("method", "predict"))
