"""Settings with which no model could ever learn are refused, and leave nothing behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streamnet.daemon.hosting.registry import check_settings
from streamnet.durability.files import DISK
from streamnet.errors import ConfigurationError
from streamnet.metrics import classification
from streamnet.modelfiles import json_format
from streamnet.settings.daemon import parse_model
from tests.conftest import Runner
from tests.daemon.app_client import client_beside, is_problem
from tests.daemon.hosted_models import hosting_all
from tests.daemon.stand_ins import learned_model

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"population": {"candidates": 10**9}}, "candidates is 1000000000, but must be from 1 to 512"),
    ({"source": {"drop": ["lit"]}}, "drop has 'lit', but that is the target"),
    (
        {"source": {"task": "regression"}, "selection": {"criterion": "accuracy"}},
        "criterion is 'accuracy'",
    ),
]
REFUSED_BESIDE_A_START: list[tuple[dict[str, Any], str]] = [
    ({"source": {"drop": ["x"]}}, "source.drop has 'x', but that is an input of the start"),
    (
        {"source": {"kinds": {"x": "category"}}},
        "source.kinds has 'category' for 'x', but must be 'number', as the start reads it",
    ),
]


def with_target(tables: dict[str, Any]) -> dict[str, Any]:
    return {**tables, "source": {"target": "lit", **tables.get("source", {})}}


@pytest.mark.parametrize(("tables", "message"), REFUSED)
def test_settings_that_can_never_run_make_no_model(
    run: Runner, tmp_path: Path, tables: dict[str, Any], message: str
) -> None:
    async def main() -> None:
        async with hosting_all(tmp_path) as models, client_beside(models) as http:
            body = {"name": "lamp", "settings": with_target(tables)}
            assert is_problem(await http.post("/v1/models", json=body), 422, message)
            assert not DISK.names(tmp_path)
            body["settings"] = with_target({})
            assert (await http.post("/v1/models", json=body)).status_code == 201

    run(main)


@pytest.mark.parametrize(("tables", "message"), REFUSED_BESIDE_A_START)
def test_settings_that_do_not_fit_a_start_make_no_model(
    run: Runner, tmp_path: Path, tables: dict[str, Any], message: str
) -> None:
    async def main() -> None:
        start = ".json", json_format.encode(learned_model().document())
        async with hosting_all(tmp_path) as models:
            with pytest.raises(ConfigurationError) as caught:
                await models.create("lamp", parse_model(with_target(tables)), start)
            assert str(caught.value) == message
            assert not DISK.names(tmp_path)
            same = {"source": {"kinds": {"x": "number"}}}
            await models.create("lamp", parse_model(with_target(same)), start)

    run(main)


def test_settings_need_to_fit_one_task_where_none_is_told(tmp_path: Path) -> None:
    """A target that is not known yet tells the task: it may be the one that they fit."""
    check_settings(parse_model(with_target({"selection": {"criterion": "mae"}})), tmp_path)


def test_settings_that_need_more_memory_than_there_is_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classification, "check_horizons", lambda *_: None)
    settings = parse_model(with_target({"evaluation": {"window": 10**13}}))
    with pytest.raises(ConfigurationError, match=r"does not fit into memory: Unable to allocate"):
        check_settings(settings, tmp_path)
