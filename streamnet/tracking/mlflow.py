"""Records a run in MLflow; it needs the extra `mlflow`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from time import time
from typing import Any, final

from streamnet.pipeline import Callback, Champion, Result
from streamnet.reporting.report import Drift, LearningStatus
from streamnet.tracking.records import flatten_settings, list_metrics, qualify
from streamnet.validation import check_extra

_DEFAULT_EXPERIMENT = "0"  # its ID
_LONGEST = 6000  # characters of a parameter


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
                    part.model.save(Path(folder, "model.safetensors"))
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
