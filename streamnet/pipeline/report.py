"""The JSON report of a run; its layout is stable and documented in the README."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from typing import Any
from typing import NamedTuple

import numba
import numpy as np

from streamnet.evaluation import Horizon
from streamnet.learning.evaluator import measures_of
from streamnet.learning.learner import Learner
from streamnet.learning.serving import Departed
from streamnet.networks.population import Member

__all__ = ("Times", "report_of")


class Times(NamedTuple):
    """How long a run took, in seconds of wall time."""

    startup: float
    running: float


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
    server, evaluator = learner.server, learner.evaluator
    learned = learner.trainer.number
    champion = server.champion
    baselines = {
        name: measures_of(evaluator.baselines.measures(track))
        for track, name in enumerate(evaluator.baseline_names)
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
        "seconds": round(times.running, 6),
        "startup_seconds": round(times.startup, 6),
        "samples_per_second": round(learned / times.running, 1) if times.running > 0 else None,
        "served": measures_of(server.served.measures(0)),
        "served_sliding": measures_of(server.served.measures(0, Horizon.SLIDING)),
        "served_fading": measures_of(server.served.measures(0, Horizon.FADING)),
        "baselines": baselines,
        "champion": None if champion is None else _champion(champion, server.selector.since),
        "switches": server.selector.switched,
        "last_switches": [
            {
                "sample": switch.number,
                "from": None if switch.before < 0 else switch.before,
                "to": switch.after,
                "loss_from": switch.loss_before if np.isfinite(switch.loss_before) else None,
                "loss_to": switch.loss_after,
            }
            for switch in list(server.selector.switches)[-20:]
        ],
        "quarantines": server.quarantines,
        "candidates": _candidates(learner),
        "curve": {
            "samples": server.curve.samples().tolist(),
            "columns": ["served", *evaluator.baseline_names],
            "summed_errors": server.curve.values().tolist(),
        },
        "encoder": learner.encoder.statistics()._asdict(),
        "settings": settings,
        "seed": learner.seed,
        "environment": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "numba": numba.__version__,
            "cpu": _cpu(),
            "threads": threads,
        },
    }


def _champion(member: Member, since: int) -> dict[str, Any]:
    return {"candidate": member.serial, "settings": member.settings.as_dict(), "since": since}


def _candidates(learner: Learner) -> list[dict[str, Any]]:
    server = learner.server
    losses = server.selector.losses()
    rows = []
    for slot, member in enumerate(server.members):
        scores = learner.evaluator.candidates
        row = _candidate(member, quarantined=server.quarantined(slot))
        row["scores"] = measures_of(scores.measures(slot))
        row["sliding"] = measures_of(scores.measures(slot, Horizon.SLIDING))
        row["fading"] = measures_of(scores.measures(slot, Horizon.FADING))
        row["loss"] = float(losses[slot]) if np.isfinite(losses[slot]) else None
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
    row = _candidate(departed.member, quarantined=True)
    return {**row, "scores": {}, "left": departed.number}


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or os.uname().machine
