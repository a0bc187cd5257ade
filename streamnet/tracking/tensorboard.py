"""Records a run for TensorBoard; it needs the extra `tensorboard`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, final

from streamnet.pipeline import Callback, Champion, Result
from streamnet.reporting.report import Drift, LearningStatus
from streamnet.tracking.records import flatten_settings, list_metrics, qualify
from streamnet.validation import check_extra


@final
class TensorBoardCallback(Callback):
    """Writes settings, scores, drifts and champions of a run as event files of TensorBoard.

    The scalars of each round have the number of its last sample as step.

    Args:
        folder: Folder of the event files.

    Raises:
        ConfigurationError: If tensorboardX is not installed.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        check_extra("tensorboard", "tensorboardX")
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(os.fspath(folder))

    def on_start(self, settings: Mapping[str, Any]) -> None:
        """Write the settings as a text."""
        lines = (f"    {name} = {value}" for name, value in flatten_settings(settings).items())
        self._writer.add_text("settings", "\n".join(lines), 0)

    def on_round(self, status: LearningStatus, part: str) -> None:
        """Write the scores."""
        for name, value in list_metrics(status, part).items():
            self._writer.add_scalar(name, value, status.learned)

    def on_drift(self, drift: Drift, part: str) -> None:
        """Write the loss after a drift, at the sample where it was detected."""
        self._writer.add_scalar(qualify("drift_loss", part), drift.after, drift.number)

    def on_champion(self, champion: Champion) -> None:
        """Write which candidate is champion."""
        name = qualify("champion", champion.part)
        self._writer.add_scalar(name, champion.candidate, champion.number)
        self._writer.add_text(name, champion.settings.describe(), champion.number)

    def on_end(self, result: Result) -> None:  # noqa: ARG002 - it holds no figures to plot
        """Close the files."""
        self._writer.close()

    def on_error(self, error: BaseException) -> None:
        """Write why the run failed, and close the files."""
        self._writer.add_text("error", str(error))
        self._writer.close()
