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

__all__ = ("build_identity", "describe_changes", "fill_defaults")


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
_CANDIDATE = CandidateSettings().as_dict()
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
    return fill_defaults(
        {
            "candidates": [settings.as_dict() for settings in chosen],
            "start": None if start is None else start.document()["checksum"],
            "encoder": encoder,
            "evolution": evolution,
            **others,
        }
    )


def fill_defaults(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a run, with the default of what a learner was not told.

    So a default counts as much as the same value given, and what a release that has another one
    makes of a state of this one is told.

    >>> identity = {"candidates": [], "seed": 3, "encoder": {"clip": 4.0}}
    >>> full = fill_defaults(identity)
    >>> full["alpha"], full["seed"], full["encoder"]["clip"], full["encoder"]["max_classes"]
    (0.05, 3, 4.0, 1000)
    >>> full == fill_defaults(full)
    True
    """
    full = {**_LEARNER, **identity}
    if full["evolution"] is None:
        full["evolution"] = {"every": 0} if _has_own_candidates(full) else {}
    full["evolution"] = {**_EVOLUTION, **full["evolution"]}
    full["candidates"] = [{**_CANDIDATE, **given} for given in full["candidates"]]
    if full["start"] is None:
        full["encoder"] = {**_ENCODER, **(full["encoder"] or {})}
        coding = full["encoder"]["autoencoder"]
        if coding is not None:
            own = AutoEncoderSettings.from_dict({"seed": full["seed"], **coding})
            full["encoder"]["autoencoder"] = own.as_dict()
    return full


def _has_own_candidates(identity: Mapping[str, Any]) -> bool:
    """Whether there is no search, as a state of an earlier release does not always say."""
    default = [given.as_dict() for given in default_population(encoder=identity["encoder"])]
    return [{**_CANDIDATE, **given} for given in identity["candidates"]] != default


def describe_changes(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A phrase for each setting of a run in full that is not as it was saved.

    A state of an earlier release lacks settings that this one has: what was left out had its
    default. What it has besides, nobody asks for any more.

    >>> now = fill_defaults({"candidates": [], "seed": 1, "alpha": 0.5})
    >>> describe_changes({"candidates": [], "seed": 1}, now)
    ['alpha is 0.5, but was 0.05']
    """
    saved, now = _drop_default_source(fill_defaults(saved)), _drop_default_source(now)
    return describe_differences(_relax_drift(_keep_known(_with_files(saved, now), now), now), now)


def _with_files(saved: dict[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """What was saved, with the files of now where a state of before does not tell its own."""
    source = now.get("source") or {}
    if "files" not in source or not saved.get("source"):
        return saved
    return {**saved, "source": {"files": source["files"], **saved["source"]}}


def _drop_default_source(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Settings, of which those of the source that are what they are without it are not given."""
    if not identity.get("source"):
        return dict(identity)
    given = identity["source"].items()
    plain = {name: None if value == _SOURCE.get(name) else value for name, value in given}
    return {**identity, "source": plain}


def _relax_drift(saved: dict[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """What was saved, with any other way than "stop" to take a drift that never came.

    The run ended before the first one, so that it has learned what it would have another way.
    """
    drift = saved.get("source", {}).get("drift")
    if not drift:
        return saved
    here = now["source"]["drift"] or {}
    relaxed = {name: here.get(name) if way == "stop" else way for name, way in drift.items()}
    return {**saved, "source": {**saved["source"], "drift": relaxed}}


def _keep_known(saved: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """What was saved, without the settings and keys of tables that are not there now."""
    found = {name: value for name, value in saved.items() if name in now}
    for name, value in found.items():
        here = now[name]
        if isinstance(value, Mapping) and isinstance(here, Mapping):
            found[name] = {key: value[key] for key in value if key in here}
    return found
