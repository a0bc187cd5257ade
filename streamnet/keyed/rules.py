"""What models of keys cannot be combined with, and why."""

from __future__ import annotations

from streamnet.errors import ConfigurationError
from streamnet.settings.learning import LearningSettings


def check_keyed(settings: LearningSettings, *, start: object = None) -> None:
    """Refuse what models of keys cannot be combined with.

    Args:
        settings: Those of learning.
        start: A model to continue from; None for none.

    Raises:
        ConfigurationError: If there is something, with the reason.
    """
    if not settings.key:
        return
    cannot, criterion = "is given, but cannot be combined with a key", settings.criterion or ""
    ahead = "it counts samples of the stream, and those ahead are of other keys"
    refused = (
        (settings.horizon is not None, f"horizon {cannot}", ahead),
        (start is not None, f"start {cannot}", "a model file has no models of keys"),
        (
            settings.serve != "ensemble",
            f"serve is {settings.serve!r}, but must be 'ensemble' with a key",
            "it is the ensemble that the model of a key corrects",
        ),
        (
            "balanced" in criterion,
            f"criterion is {criterion!r}, but must not be balanced with a key",
            "the model of a key predicts the most probable label",
        ),
        (settings.season == 0, "season is 0, but must be >= 2 with a key", "none is found by key"),
    )
    for is_given, message, reason in refused:
        if is_given:
            raise ConfigurationError(f"{message}: {reason}")
