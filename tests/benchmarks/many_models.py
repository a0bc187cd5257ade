"""What many models cost a daemon: ``python -m tests.benchmarks.many_models``.

Single durable samples are sent by 16 connections to MODELS models in turn, and to one model of a
daemon of its own, several times in turn. Printed are both rates, what is written a minute, and the
memory of a model that has learned: what the process holds beyond the one with a single model.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import NamedTuple

import httpx

from tests.benchmarks.daemon import Connection, samples
from tests.daemon.processes import Server

RUN_FILE = """
[serve]
dir = "{folder}/models"
port = 0
max_rate = 1000000
"""
MODEL = """
[model.m{number}]
source.target = "label"
"""
CONNECTIONS = 16


class Cost(NamedTuple):
    """What a stretch of samples cost."""

    rate: float  # durable samples a second
    written: float  # bytes a second
    processor: float  # seconds of processor time a sample


def start(folder: Path, models: int) -> Server:
    """Start a daemon with so many models, and wait until it is ready."""
    folder.mkdir()
    config = folder / "serve.toml"
    tables = "".join(MODEL.format(number=number) for number in range(models))
    config.write_text(RUN_FILE.format(folder=folder) + tables)
    server = Server(["python", "-m", "streamnet", "serve", str(config), "--log-level=error"])
    while httpx.get(f"{server.url}/readyz").status_code != 200:
        time.sleep(0.2)
    return server


async def send(server: Server, models: int, seconds: float) -> Cost:
    """Send single samples to all models in turn for some seconds."""
    numbers, end = count(), time.perf_counter() + seconds
    rows = [json.dumps({"sample": row}).encode() for row in samples(1000)]

    async def one() -> None:
        connection = await Connection(server.url).open()
        while time.perf_counter() < end:
            number = next(numbers)
            model = f"m{number % models}"
            status = await connection.post("samples", rows[number % 1000], model=model)
            assert status == 200, status
        connection.close()

    before, begun = read_written(server), time.perf_counter()
    used = read_processor(server)
    await asyncio.gather(*(one() for _ in range(CONNECTIONS)))
    taken = time.perf_counter() - begun
    sent, written = next(numbers), read_written(server) - before
    return Cost(sent / taken, written / taken, (read_processor(server) - used) / sent)


def read_written(server: Server) -> int:
    """Bytes that a process has written to disk so far."""
    lines = Path(f"/proc/{server.process.pid}/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["wchar"])


def read_processor(server: Server) -> float:
    """Seconds of processor time that a process has used so far."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def read_memory(server: Server) -> int:
    """Resident bytes of a process."""
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    found = next(line for line in lines if line.startswith("VmRSS"))
    return int(found.split()[1]) * 1024


async def teach(server: Server, models: int, samples_each: int) -> None:
    """Let each model learn so many samples."""
    connection = await Connection(server.url).open()
    for number in range(models):
        body = json.dumps({"samples": samples(samples_each, number)}).encode()
        assert await connection.post("samples", body, model=f"m{number}") == 200
    connection.close()


def until_taught(server: Server, samples_each: int) -> None:
    while any(
        line["samples"] < samples_each for line in httpx.get(f"{server.url}/v1/models").json()
    ):
        time.sleep(0.5)


async def main(models: int, seconds: float, repeats: int, learned: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        servers = {n: start(Path(folder) / str(n), n) for n in (1, models)}
        for n, server in servers.items():
            await teach(server, n, learned)
            until_taught(server, learned)
        costs: dict[int, list[Cost]] = {n: [] for n in servers}
        for _ in range(repeats):
            for n, server in servers.items():
                costs[n].append(await send(server, n, seconds))
        for n, found in costs.items():
            rate = statistics.median(cost.rate for cost in found)
            written = statistics.mean(cost.written for cost in found) * 60 / 1e6
            processor = statistics.median(cost.processor for cost in found) * 1000
            print(
                f"{n} models: {rate:,.0f} samples/s, {processor:.2f} ms of processor time each, "
                f"{written:,.0f} MB written a minute"
            )
        one, many = (statistics.median(cost.rate for cost in costs[n]) for n in servers)
        memory = [read_memory(server) for server in servers.values()]
        each = (memory[1] - memory[0]) / (models - 1) / 1e6
        print(f"rate of many by that of one: {many / one:.2f}; {each:.1f} MB a model")
        for server in servers.values():
            server.end(signal.SIGTERM)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each stretch")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--learned", type=int, default=2000, help="samples of each model before")
    given = parser.parse_args()
    asyncio.run(main(given.models, given.seconds, given.repeats, given.learned))
