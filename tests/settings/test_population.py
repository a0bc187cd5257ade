"""Which candidates a run file asks for."""

from __future__ import annotations

import pytest

from streamnet.errors import ConfigurationError
from streamnet.settings.run import parse


@pytest.mark.parametrize(
    ("key", "more"), [("hidden", ", or 'linear' for none"), ("knots", ""), ("learning_rate", "")]
)
def test_an_empty_list_of_values_to_try_is_rejected(key: str, more: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse(f"population.{key} = []")
    assert str(raised.value).endswith(f"population.{key} is [], but must list what to try{more}")
    assert parse("population.candidate = [{ hidden = [] }]").population.candidate, "a linear one"
