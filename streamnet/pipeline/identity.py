"""The identity of a run: all settings, defaults included, that must match on resume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import Parameter, signature
from typing import Any

from streamnet.durability.provenance import describe_differences
from streamnet.features.autoencoder import AutoEncoderSettings
from streamnet.features.encoder import Encoder
from streamnet.learning.learner import Learner
from streamnet.modelfiles.model import Model
from streamnet.selection.search.default_population import default_population
from streamnet.selection.search.evolution import Evolution
from streamnet.settings.candidate import CandidateSettings
from streamnet.sources.columns import Columns
from streamnet.sources.text.records import MAX_RECORD_BYTES


def _read_defaults(part: type, *others: str) -> dict[str, Any]:
    """The defaults of a part's settings, but for ``others``, which are no settings of a run."""
    return {
        name: parameter.default
        for name, parameter in signature(part).parameters.items()
        if parameter.default is not Parameter.empty and name not in others
    }


_LEARNER = _read_defaults(Learner)
_ENCODER = _read_defaults(Encoder, "lags")
_EVOLUTION = _read_defaults(Evolution, "seed", "balanced")
_SOURCE = {
    "max_record_bytes": MAX_RECORD_BYTES,
    "most_fields": _read_defaults(Columns)["most_fields"],
    "follow": False,
    "epochs": 1,
    "shuffle_buffer": 0,
}


def build_identity(
    *,
    candidates: Sequence[CandidateSettings] | None,
    start: Model | None,
    encoder: dict[str, Any] | None = None,
    evolution: dict[str, Any] | None = None,
    **others: Any,
) -> dict[str, Any]:
    """The settings of a pipeline in full, as plain values.

    Args:
        candidates: Settings of each; None is `default_population`.
        start: Model to go on learning.
        encoder: Its settings.
        evolution: Settings of the search; None is what `Learner` makes of it.
        others: More settings.
    """
    chosen = candidates or default_population(encoder=encoder)
    if evolution is None:
        evolution = {} if candidates is None and start is None else {"every": 0}
    identity = {
        **_LEARNER,
        "candidates": [settings.as_dict() for settings in chosen],
        "start": None if start is None else start.document()["checksum"],
        "encoder": encoder,
        "evolution": {**_EVOLUTION, **evolution},
        **others,
    }
    if start is None:
        identity["encoder"] = _fill_encoder(encoder or {}, seed=identity["seed"])
    return identity


def _fill_encoder(encoder: Mapping[str, Any], *, seed: int) -> dict[str, Any]:
    full = {**_ENCODER, **encoder}
    if full["autoencoder"] is not None:
        own = AutoEncoderSettings.from_dict({"seed": seed, **full["autoencoder"]})
        full["autoencoder"] = own.as_dict()
    return full


def describe_changes(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Phrases on the settings that differ from the saved ones.

    Args:
        saved: The complete identity of the run that is resumed.
        now: The identity of this one; before the source is opened, without what follows from it.

    >>> saved = build_identity(candidates=None, start=None, seed=1)
    >>> describe_changes(saved, {**saved, "alpha": 0.5})
    ['alpha is 0.5, but was 0.05']
    """
    known = {name: value for name, value in saved.items() if name in now}
    saved, now = _drop_default_source(known), _drop_default_source(now)
    return describe_differences(_relax_drift(saved, now), now)


def _drop_default_source(identity: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, with None for those of the source that have their defaults."""
    if not identity.get("source"):
        return dict(identity)
    given = identity["source"].items()
    plain = {name: None if value == _SOURCE.get(name) else value for name, value in given}
    return {**identity, "source": plain}


def _relax_drift(saved: dict[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """The saved settings, in which "stop" on schema drift may have been any other reaction.

    Such a run ended before the first drift, so it would have learned the same with another one.
    """
    drift = saved.get("source", {}).get("drift")
    if not drift:
        return saved
    here = now["source"]["drift"] or {}
    relaxed = {name: here.get(name) if way == "stop" else way for name, way in drift.items()}
    return {**saved, "source": {**saved["source"], "drift": relaxed}}
