"""Fixtures of the command-line tests: calling commands, and a saved model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streamnet.runs.replay import replay
from tests.cli.invocation import Cli, csv_text, rows


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Call a command in an empty folder: ``cli("predict", "model.json", "new.csv")``."""
    monkeypatch.chdir(tmp_path)
    return Cli(capsys)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with train.csv, model.json, model.safetensors, report.json of one run."""
    folder = tmp_path_factory.mktemp("trained")
    path = folder / "train.csv"
    path.write_text(csv_text(rows(700)), encoding="utf-8")
    outputs: dict[str, Any] = {"model": folder / "model.json", "report": folder / "report.json"}
    result = replay(path, target="label", candidates=3, **outputs)
    result.model.save(folder / "model.safetensors")
    return folder


@pytest.fixture(scope="session")
def model(trained: Path) -> Path:
    """File of a model that tells high from low by ``number`` and ``shade``."""
    return trained / "model.safetensors"
