"""What stands for something broken says so, and is itself as good as any other object."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from streamnet.errors import StateError
from streamnet.online.interrupts import Broken


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda broken: pickle.loads(pickle.dumps(broken))]
)
def test_a_copy_says_so_too(again: Callable[[Broken], Any]) -> None:
    with pytest.raises(StateError, match=r"the estimator was interrupted .* by TimeoutError"):
        again(Broken("the estimator", TimeoutError("too slow"))).answer()
