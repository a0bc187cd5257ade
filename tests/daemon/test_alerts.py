"""Each alert rule fires where its fault is, by promtool, and none where nothing is wrong."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from streamnet.daemon.hosting.hosted_model import HostedModel
from streamnet.daemon.prometheus import Metrics
from streamnet.errors import OutputError
from streamnet.settings.daemon import ModelSettings
from tests.daemon.app_client import client, lines
from tests.daemon.hosted_models import TABLES, hosting, learned, rows, settings_of, until
from tests.daemon.stand_ins import StandInRegistry
from tests.durability.disks import Filling

BEFORE, AFTER = 20, 30  # minutes without and with the fault


def scrape(hosted: HostedModel) -> str:
    return Metrics(lambda: {hosted.name: hosted}).text()


def series_of(text: str) -> dict[str, str]:
    samples = (line for line in text.splitlines() if line.startswith("streamnet_"))
    found = dict(sample.rsplit(" ", 1) for sample in samples)
    return {name: value for name, value in found.items() if value != "NaN"}


def continue_series(name: str, first: dict[str, str], second: dict[str, str]) -> str:
    """Values while the fault lasts: a counter keeps growing as it did at first."""
    now = second.get(name, "_")
    if now == "_" or "_total{" not in name:
        return f"{now}x{AFTER}"
    growth = max(0.0, float(now) - float(first.get(name, now)))  # below 0 after a restart
    return f"{now}+{growth:g}x{AFTER}"


def find_alerts(folder: Path, before: str, after: str) -> set[str]:
    """Names of the alerts that fire at some time, if metrics change from one text to the other."""
    rules = Path(__file__).parents[2] / "config" / "alerts.yaml"
    shutil.copy(rules, folder / "alerts.yaml")
    first, second = series_of(before), series_of(after)
    inputs = [
        {
            "series": name,
            "values": f"{first.get(name, '_')}x{BEFORE} {continue_series(name, first, second)}",
        }
        for name in first | second
    ]
    names = re.findall(r"- alert: (\w+)", rules.read_text("utf-8"))
    tests = [
        {
            "expr": f'count(ALERTS{{alertname="{name}",alertstate="firing"}})',
            "eval_time": f"{minute}m",
            "exp_samples": [],  # those that are not as expected are reported
        }
        for name in names
        for minute in (BEFORE - 1, BEFORE + 3, BEFORE + 9, BEFORE + AFTER - 1)
    ]
    plan = {
        "rule_files": ["alerts.yaml"],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": inputs, "promql_expr_test": tests}],
    }
    (folder / "plan.yaml").write_text(json.dumps(plan), "utf-8")  # JSON is YAML
    done = subprocess.run(
        ["promtool", "test", "rules", "plan.yaml"],
        cwd=folder,
        check=False,  # it fails where an alert fires
        capture_output=True,
        text=True,
        timeout=60,
    )
    told = done.stdout + done.stderr
    assert ("SUCCESS" in told) == (done.returncode == 0), told
    firing = set(re.findall(r'expr: "count\(ALERTS\{alertname=\\?"(\w+)', told))
    assert done.returncode == 0 or firing, told
    return firing


Fault = Callable[[HostedModel, "Filling"], Any]


async def misspell(hosted: HostedModel, _: Filling) -> None:
    await hosted.learn(lines([{"x": 1, "yy": "a"}] * 150))
    await until(lambda: hosted.status().troubles)


async def pause_while_samples_come(hosted: HostedModel, _: Filling) -> None:
    await hosted.pause()
    await hosted.learn(rows(95))


async def send_malformed_lines(hosted: HostedModel, _: Filling) -> None:
    await hosted.learn(lines(rows(100)))
    await hosted.learn(b"\x1f\x8b\n" * 10)
    await until(lambda: hosted.rejected().total == 10)


async def fill_the_disk(hosted: HostedModel, disk: Filling) -> None:
    await hosted.learn(rows(80))
    await learned(hosted, 80)  # and the first checkpoint is written, the next one is due soon
    disk.full = True
    await until(lambda: hosted.status().checkpoint_failures)
    with pytest.raises(OutputError):
        await hosted.learn(rows(10))
    await until(lambda: len(hosted.status().troubles) == 2)


async def let_a_prediction_expire(hosted: HostedModel, _: Filling) -> None:
    await hosted.learn(rows(80))
    await hosted.published()
    for identity in "ab":  # only one may wait
        samples = [{"x": 0.5}]
        await hosted.remember([identity], samples, hosted.predict(samples))


async def let_labels_change(hosted: HostedModel, _: Filling) -> None:
    good, bad = rows(2000), [row | {"y": "abc"[i // 8 % 3]} for i, row in enumerate(rows(600))]
    await hosted.learn(good)
    await learned(hosted, 2000)
    await hosted.learn(bad)
    await until(lambda: hosted.status().scored == 2600)


FAULTS: dict[str, tuple[Fault, dict[str, Any], set[str]]] = {
    "misspelt target": (misspell, {}, {"StreamnetTargetMissing"}),
    "full queue": (
        pause_while_samples_come,
        {"intake": {"max_queued": 100}},
        {"StreamnetQueueFull"},
    ),
    "malformed lines": (send_malformed_lines, {}, {"StreamnetRecordsRejected"}),
    "full disk": (
        fill_the_disk,
        {"state": {"every_seconds": 2.0}},
        {"StreamnetDiskFails", "StreamnetRefusesSamples", "StreamnetCheckpointsFail"},
    ),
    "expired prediction": (
        let_a_prediction_expire,
        {"intake": {"max_pending": 1}},
        {"StreamnetLabelsExpire"},
    ),
    "changed labels": (
        let_labels_change,
        {"evaluation": {"window": 400}},
        {"StreamnetWorseThanBaseline", "StreamnetConceptDrift"},
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_fires_its_alerts_and_no_other(name: str, tmp_path: Path) -> None:
    cause, tables, expected = FAULTS[name]

    async def main() -> tuple[str, str]:
        disk = Filling()
        async with hosting(tmp_path / "model", settings_of(**tables), files=disk) as hosted:
            before = scrape(hosted)
            await cause(hosted, disk)
            after = scrape(hosted)
            disk.full = False
            return before, after

    before, after = anyio.run(main)
    assert find_alerts(tmp_path, before, after) == expected


def test_a_model_that_fails_and_files_that_cannot_be_read_fire(tmp_path: Path) -> None:
    gone = {**TABLES, "source": {"target": "y", "files": str(tmp_path / "gone.csv")}}

    async def main() -> list[str]:
        texts = []
        for seed in (3, 4):  # the state of the first is not that of the second
            settings = settings_of(run={"round_size": 64, "seed": seed})
            async with hosting(tmp_path / "model", settings) as hosted:
                if seed == 3:
                    await hosted.learn(rows(80))
                    await learned(hosted, 80)
                else:
                    await until(lambda: hosted.state == "failed")
                texts.append(scrape(hosted))
        async with hosting(tmp_path / "fed", ModelSettings.model_validate(gone)) as hosted:
            await until(lambda: hosted.status().troubles)
            texts.append(scrape(hosted))
        return texts

    healthy, failed, fed = anyio.run(main)
    assert find_alerts(tmp_path, healthy, healthy) == set()
    assert find_alerts(tmp_path, healthy, failed) == {
        "StreamnetModelFailed",
        "StreamnetRefusesSamples",
    }
    assert find_alerts(tmp_path, healthy, fed) == {"StreamnetFeedFails"}


def test_a_column_that_changes_fires_also_if_a_restart_is_between(tmp_path: Path) -> None:
    async def main() -> list[str]:
        texts: list[str] = []
        for shift in (0, 0, 100):
            async with hosting(tmp_path / "model") as hosted:
                samples = [row | {"extra": i % 5 + shift} for i, row in enumerate(rows(700))]
                await hosted.learn(samples)
                await learned(hosted, 700 * (1 + len(texts)))
                texts.append(scrape(hosted))
        return texts

    first, before, after = anyio.run(main)
    assert 'streamnet_feature_drift{feature="extra",model="spam"} NaN' in first
    assert "StreamnetFeatureDrift" not in find_alerts(tmp_path, first, before)
    assert "StreamnetFeatureDrift" in find_alerts(tmp_path, before, after)


def test_requests_that_fail_fire(registry: StandInRegistry, tmp_path: Path) -> None:
    http = client(registry)
    before = http.get("/metrics").text
    for _ in range(5):
        registry.models["wine"].errors.append(RuntimeError("broken"))
        assert http.post("/v1/models/wine/samples", json={"sample": {"x": 1}}).status_code == 500
    found = find_alerts(tmp_path, before, http.get("/metrics").text)
    assert found == {"StreamnetServerErrors"}


def test_every_rule_is_fired_by_one_of_these_faults(repository: Path) -> None:
    rules = (repository / "config" / "alerts.yaml").read_text("utf-8")
    fired = set().union(*(expected for _, _, expected in FAULTS.values()))
    fired |= {
        "StreamnetModelFailed",
        "StreamnetFeedFails",
        "StreamnetFeatureDrift",
        "StreamnetServerErrors",
    }
    assert set(re.findall(r"- alert: (\w+)", rules)) == fired
