"""A daemon with models of every kind, for pictures of its page.

``python examples/pictures/stage.py`` prints its address, and runs until a line is read.
"""

from __future__ import annotations

import csv
import gzip
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from streamnet.client import Client
from streamnet.errors import RefusedError

DATA = Path(__file__).parents[1] / "data"
RUN_FILE = """
[serve]
dir = "models"
port = 0

[model.income]
source.target = "income"

[model.bikes]
source.target = "cnt"
evaluation.interval = 0.9

[model.letters]
source.target = "letter"
source.task = "classification"

[model.parts]
source.target = "part"

[model.machines]
source.target = "wear"
keys.key = ["machine"]

[model.valves]
source.target = "leak"
alerts.score = 0.7

[model.orders]
source.target = "valeu"

[model.returns]
source.target = "returned"

[model.visits]
source.target = "visits"
"""
FAILED, LEARNED = "returns", {"income": 6000, "bikes": 6000, "letters": 8000, "parts": 12_000}
ADDRESS = re.compile(r"listening on (\S+)")


@contextmanager
def stage() -> Iterator[str]:
    """Start the daemon, and send to its models what they learn; the address."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "serve.toml"
        config.write_text(RUN_FILE, encoding="utf-8")
        damage_state(Path(folder) / "models" / FAILED)
        command = [sys.executable, "-m", "streamnet", "serve", str(config), "--log-level=error"]
        daemon = subprocess.Popen(  # noqa: S603 - ours
            command, stdout=subprocess.PIPE, text=True, cwd=folder
        )
        try:
            assert daemon.stdout is not None
            found = next(filter(None, map(ADDRESS.search, daemon.stdout)))
            with Client(found[1], patience=600.0) as client:
                wait_until_ready(client)
                send_all(client)
            yield f"{found[1]}/"
        finally:
            daemon.terminate()
            daemon.wait()


def damage_state(folder: Path) -> None:
    """Leave a state that can't be resumed."""
    checkpoints = folder / "state" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "000000000007.checkpoint").write_bytes(b"\x00" * 4096)


def wait_until_ready(client: Client) -> None:
    """Wait until kernels are compiled."""
    while True:
        try:
            client.readyz()
        except RefusedError:
            time.sleep(1.0)
        else:
            return


def send_all(client: Client) -> None:
    """Send to each model what it learns, in turn, as over a longer time."""
    rows: dict[str, list[dict[str, Any]]] = {
        "income": read("adult")[: LEARNED["income"]],
        "bikes": read("bike_hourly")[: LEARNED["bikes"]],
        "letters": make_classes(LEARNED["letters"], "letter", [chr(65 + n) for n in range(26)]),
        "parts": make_classes(LEARNED["parts"], "part", [f"P-{n:03d}" for n in range(200)]),
        "machines": make_machines(6000),
        "valves": make_valves(5000),
        "orders": [{"items": n % 7, "value": n % 7 * 9.5} for n in range(400)],
    }
    parts = 40
    for part in range(parts):
        for name, all_rows in rows.items():
            some = all_rows[len(all_rows) * part // parts : len(all_rows) * (part + 1) // parts]
            if name == "income" and part > parts // 2:
                label_late(client, name, some)
            else:
                client.learn(name, some)
        time.sleep(1.0)
    odd: list[dict[str, Any]] = [
        {"alarm": "yes"},
        {"pressure": "high", "flow": 2.0, "leak": "no"},
        {"flow": 2.5},
    ]
    client.learn("valves", odd)
    wait_until_learned(client, rows)


def label_late(client: Client, name: str, rows: Sequence[dict[str, Any]]) -> None:
    """Predict samples, let a rule of somebody else predict them, too, and then send labels."""
    target = "income"
    first = client.status(name).accepted
    ids = [f"{first}-{n}" for n in range(len(rows))]
    client.predict(name, [{k: v for k, v in row.items() if k != target} for row in rows], ids=ids)
    rule = [">50K" if int(row["education_num"]) > 12 else "<=50K" for row in rows]
    client.shadow_predict(name, "vendor", dict(zip(ids, rule, strict=True)))
    client.label(name, {one: row[target] for one, row in zip(ids, rows, strict=True)})


def wait_until_learned(client: Client, names: Any) -> None:
    """Wait until nothing is queued."""
    waiting = set(names) - {"orders"}
    while waiting := {name for name in waiting if client.status(name).in_flight}:
        time.sleep(1.0)


def read(name: str) -> list[dict[str, Any]]:
    """The rows of a file of the examples."""
    with gzip.open(DATA / f"{name}.csv.gz", "rt", encoding="utf-8") as file:
        return [{k: to_value(v) for k, v in row.items()} for row in csv.DictReader(file)]


def to_value(text: str) -> Any:
    """A number, if it is one."""
    try:
        return float(text)
    except ValueError:
        return text


def make_classes(count: int, target: str, names: Sequence[str]) -> list[dict[str, Any]]:
    """Noisy measurements of things of many classes; some are more frequent than others."""
    rng = np.random.default_rng(1)
    centers = rng.normal(size=(len(names), 8))
    chances = 1 / np.arange(3, len(names) + 3)
    classes = rng.choice(len(names), size=count, p=chances / chances.sum())
    X = (centers[classes] + 0.45 * rng.normal(size=(count, 8))).round(2)
    columns = [f"f{n}" for n in range(8)]
    return [
        {**dict(zip(columns, row, strict=True)), target: names[k]}
        for row, k in zip(X.tolist(), classes.tolist(), strict=True)
    ]


def make_machines(count: int) -> list[dict[str, Any]]:
    """The wear of twelve machines, of which each has a way of its own."""
    rng = np.random.default_rng(2)
    ways = rng.normal(size=(12, 2))
    rows = []
    for _ in range(count):
        machine, load, heat = int(rng.integers(12)), float(rng.random()), float(rng.random())
        wear = 3.0 + ways[machine] @ (load, heat) + 0.05 * rng.normal()
        row = {"machine": f"M{machine:02d}", "load": round(load, 3), "heat": round(heat, 3)}
        rows.append({**row, "wear": round(float(wear), 3)})
    return rows


def make_valves(count: int) -> list[dict[str, Any]]:
    """Valves with another sensor at the end: pressures are others, and labels mean nothing."""
    rng, rows = np.random.default_rng(3), []
    for n in range(count):
        pressure, flow, late = float(rng.normal(5, 1)), float(rng.random()), n > 0.8 * count
        leak = rng.random() < 0.5 if late else pressure * flow > 2.4
        row = {"pressure": round(pressure + 4 * late, 2), "flow": round(flow, 3)}
        rows.append({**row, "leak": "yes" if leak else "no"})
    return rows


if __name__ == "__main__":
    with stage() as address:
        print(address, flush=True)
        input()
