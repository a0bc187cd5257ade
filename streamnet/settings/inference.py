"""Settings of predictions by a finished or a served model."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from streamnet.errors import ConfigurationError
from streamnet.settings.fields import Check, Settings, declare, format_choices

OnUnknown = Literal["warn", "ignore", "raise"]


def check_policy(given: Any) -> OnUnknown:
    """Reject what is not one of the policies.

    >>> check_policy("stop")
    Traceback (most recent call last):
    streamnet.errors.ConfigurationError: on_unknown is 'stop', but must be 'warn', 'ignore' or
    'raise'
    """
    if given not in get_args(OnUnknown):
        rule = f"must be {format_choices(get_args(OnUnknown))}"
        raise ConfigurationError(f"on_unknown is {given!r}, but {rule}")
    policy: OnUnknown = given
    return policy


@declare
class InferenceSettings(Settings):
    """How samples are predicted.

    Args:
        on_unknown: What to do with a column that the model does not know in a sample to predict:
            warn, ignore or raise an error. A sample without any column that the model knows is
            always refused.
    """

    on_unknown: Annotated[OnUnknown, Check(check_policy)] = "warn"
