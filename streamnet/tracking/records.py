"""Settings as flat text parameters, and the metrics of a round by name, for trackers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from streamnet.reporting.report import LearningStatus

_UNSAFE = re.compile(r"[^\w./ -]")  # characters that MLflow refuses in names


def flatten_settings(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """The sections of settings as one table, with dotted names.

    >>> flatten_settings({"source": {"target": "y", "files": ["a.csv"]}, "run": {"seed": 1}})
    {'source.target': 'y', 'source.files': "['a.csv']", 'run.seed': '1'}
    """
    flat: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= flatten_settings(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = str(value)
    return flat


def list_metrics(status: LearningStatus, part: str) -> dict[str, float]:
    """The defined scores and counts at the end of a round by name.

    ``served/accuracy`` is over all samples so far, ``served/accuracy_sliding`` over the sliding
    window; likewise of each baseline, as in ``no_change/accuracy``. In a run with several parts,
    names begin with that of the part.
    """
    horizons = {status.metric: (status.served, status.baselines)}
    if (sliding := status.sliding) is not None:
        horizons[f"{status.metric}_sliding"] = (sliding.served, sliding.baselines)
    values: dict[str, float | None] = {"switches": status.switches, "drifts": status.drifts}
    for metric, (served, baselines) in horizons.items():
        values |= {f"{name}/{metric}": v for name, v in {"served": served, **baselines}.items()}
    return {qualify(name, part): value for name, value in values.items() if value is not None}


def qualify(name: str, part: str) -> str:
    """A name that begins with that of the part, if it has one.

    >>> qualify("mae", "cnt+24"), qualify("mae", "")
    ('cnt_24/mae', 'mae')
    """
    return f"{_UNSAFE.sub('_', part)}/{name}" if part else name
