"""The JSON report of a run; its layout is stable and documented in the README."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any
from typing import NamedTuple

import numpy as np

from streamnet.evaluation import Horizon
from streamnet.evaluation.measures import for_json
from streamnet.learning.alternatives import BASELINES
from streamnet.learning.alternatives import SERVABLE
from streamnet.learning.learner import Learner
from streamnet.learning.serving import Change
from streamnet.learning.serving import Departed
from streamnet.modelfiles.model import Model
from streamnet.networks.members import Member
from streamnet.pipeline.outcomes import outcomes_of

__all__ = ("Result", "Times", "report_of")


class Result(NamedTuple):
    """What a run leaves: `report`, whose keys README.md tells, and `model`, what to take home."""

    report: dict[str, Any]
    model: Model


class Times(NamedTuple):
    """How long a run took, in seconds of wall time, and what was there before it."""

    startup: float
    running: float
    earlier: int  # samples that the runs before it learned


def report_of(
    learner: Learner,
    *,
    target: str | None,
    read: int,
    rejected: dict[str, Any],
    times: Times,
    settings: dict[str, Any],
    threads: int,
) -> dict[str, Any]:
    """All that is known at the end of a run, as JSON can hold it."""
    server = learner.server
    alternatives = server.alternatives
    learned = learner.trainer.number
    new, seconds = learned - times.earlier, times.running
    champion = server.champion
    tracks = {
        name: for_json(alternatives.measures(track))
        for track, name in enumerate(alternatives.names)
    }
    baselines = {
        alternatives.names[track]: tracks.pop(alternatives.names[track]) for track in BASELINES
    }
    return {
        "streamnet": version("streamnet"),
        "task": str(learner.task),
        "target": target,
        "samples": read,
        "learned": learned,
        "scored": server.scored,
        "rejected": rejected["total"],
        "rejected_reasons": rejected["reasons"],
        "rejected_not_kept": rejected["not_kept"],
        "seconds": round(times.running, 6),
        "startup_seconds": round(times.startup, 6),
        "samples_per_second": round(new / seconds, 1) if seconds > 0 else None,
        "serves": SERVABLE[server.serves],
        "served": for_json(server.measures()),
        "served_sliding": for_json(server.measures(Horizon.SLIDING)),
        "served_fading": for_json(server.measures(Horizon.FADING)),
        "alternatives": tracks,
        "baselines": baselines,
        "champion": None if champion is None else _champion(champion, server.selector.since),
        "switches": server.selector.switched,
        "last_switches": [_change(change) for change in server.changes],
        "drifts": server.drift.noticed,
        "last_drifts": [event._asdict() for event in server.drift.events],
        "quarantines": server.quarantines,
        "candidates": _candidates(learner),
        "curve": {
            "samples": server.curve.samples().tolist(),
            "columns": ["served", *baselines],
            "summed_errors": server.curve.values().tolist(),
        },
        "outcomes": outcomes_of(learner),
        "encoder": learner.encoder.statistics()._asdict(),
        "settings": settings,
        "seed": learner.seed,
        "environment": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "numba": version("numba"),
            "cpu": _cpu(),
            "threads": threads,
        },
    }


def _champion(member: Member, since: int) -> dict[str, Any]:
    return {"candidate": member.serial, "settings": member.settings.as_dict(), "since": since}


def _change(change: Change) -> dict[str, Any]:
    return {
        "sample": change.number,
        "from": None if change.before is None else change.before.serial,
        "to": change.after.serial,
        "loss_from": _defined(change.loss_before),
        "loss_to": _defined(change.loss_after),
        "evidence": change.evidence,
    }


def _candidates(learner: Learner) -> list[dict[str, Any]]:
    server = learner.server
    losses = server.selector.losses()
    tables = {
        name: learner.evaluator.candidates.table(horizon)
        for name, horizon in (
            ("scores", Horizon.OVERALL),
            ("sliding", Horizon.SLIDING),
            ("fading", Horizon.FADING),
        )
    }
    rows = []
    for slot, member in enumerate(server.members):
        row = _candidate(member, quarantined=server.quarantined(slot))
        for name, table in tables.items():
            row[name] = for_json({measure: float(of[slot]) for measure, of in table.items()})
        row["loss"] = _defined(float(losses[slot]))
        rows.append(row)
    rows.sort(key=lambda row: (row["loss"] is None, row["loss"], row["candidate"]))
    return rows + [_departed(departed) for departed in server.departed]


def _candidate(member: Member, *, quarantined: bool) -> dict[str, Any]:
    return {
        "candidate": member.serial,
        "settings": member.settings.as_dict(),
        "quarantined": quarantined,
        "born": member.born,
    }


def _departed(departed: Departed) -> dict[str, Any]:
    row = _candidate(departed.member, quarantined=departed.exploded)
    return {**row, "scores": {}, "left": departed.number}


def _defined(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
