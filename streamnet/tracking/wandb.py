"""Records a run in Weights & Biases; it needs the extra `wandb`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, final

from streamnet.pipeline import Callback, Champion, Result
from streamnet.reporting.report import Drift, LearningStatus
from streamnet.tracking.records import list_metrics, qualify
from streamnet.validation import check_extra


@final
class WandbCallback(Callback):
    """Records settings, scores, drifts and champions of a run, and its model, in W&B.

    The metrics of each round are plotted over ``samples``, the number of its last sample.

    Args:
        log_model: Whether the model to take home is stored as an artifact.
        init: Keyword arguments of ``wandb.init``, such as ``project`` and ``mode="offline"``.

    Raises:
        ConfigurationError: If wandb is not installed.
    """

    def __init__(self, *, log_model: bool = True, **init: Any) -> None:
        check_extra("wandb", "wandb")
        self._has_model, self._init = log_model, init
        self.run: Any = None
        """The run in W&B; None before learning begins."""

    def on_start(self, settings: Mapping[str, Any]) -> None:
        """Begin a run with the settings as its configuration."""
        import wandb

        self.run = wandb.init(**self._init)
        self.run.config.update(dict(settings))
        self.run.define_metric("*", step_metric="samples")

    def on_round(self, status: LearningStatus, part: str) -> None:
        """Record the scores."""
        self.run.log({"samples": status.learned, **list_metrics(status, part)})

    def on_drift(self, drift: Drift, part: str) -> None:
        """Record the loss after a drift, at the sample where it was detected."""
        self.run.log({"samples": drift.number, qualify("drift_loss", part): drift.after})

    def on_champion(self, champion: Champion) -> None:
        """Record which candidate is champion."""
        name = qualify("champion", champion.part)
        self.run.log({"samples": champion.number, name: champion.candidate})
        self.run.summary[f"{name}_settings"] = champion.settings.describe()

    def on_end(self, result: Result) -> None:
        """Store the models and end the run."""
        if self._has_model:
            for name, part in result.parts.items():
                self._store_model(part.model, qualify("model", name).replace("/", "-"))
        self.run.finish()

    def _store_model(self, model: Any, name: str) -> None:
        import wandb

        artifact = wandb.Artifact(f"{self.run.id}-{name}", type="model")
        with TemporaryDirectory() as folder:
            path = Path(folder, "model.safetensors")
            model.save(path)
            artifact.add_file(str(path))
            self.run.log_artifact(artifact)

    def on_error(self, error: BaseException) -> None:
        """Mark the run as failed."""
        if self.run is not None:
            self.run.summary["error"] = str(error)
            self.run.finish(exit_code=1)
