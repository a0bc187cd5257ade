"""Decisions about the population: which candidates to replace and which networks to emit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from streamnet.settings.candidate import CandidateSettings


class Replacement(NamedTuple):
    """A new candidate for a slot."""

    slot: int
    settings: CandidateSettings
    parent: int | None = None  # slot whose weights it inherits; None draws new ones


class ModelComposition(NamedTuple):
    """The networks that make up an emitted model."""

    champion: int  # slot of the best network
    slots: tuple[int, ...]  # of all networks, in the order of the ensemble
    ensemble: dict[str, Any] | None  # state of their ensemble; None for the champion alone


class Decision(NamedTuple):
    """What the trainer is to change in the population, decided once per round."""

    round: int
    replacements: tuple[Replacement, ...] = ()
    emit: ModelComposition | None = None


def export_decisions(decisions: Iterable[Decision]) -> list[Any]:
    """Convert decisions to plain values for a checkpoint."""
    return [
        [
            d.round,
            [[slot, s.as_dict(), parent] for slot, s, parent in d.replacements],
            None if d.emit is None else list(d.emit),
        ]
        for d in decisions
    ]


def restore_decisions(state: Iterable[Any]) -> list[Decision]:
    """Restore decisions from the values that `export_decisions` returned."""
    return [
        Decision(
            number,
            tuple(
                Replacement(slot, CandidateSettings.from_dict(settings), parent)
                for slot, settings, parent in replacements
            ),
            None if emit is None else ModelComposition(emit[0], tuple(emit[1]), emit[2]),
        )
        for number, replacements, emit in state
    ]
