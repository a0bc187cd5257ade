"""How fast a daemon learns and answers, on loopback: ``python -m tests.benchmarks.daemon WHAT``.

WHAT is one of:

predict   single predictions by 16 connections while 5,000 samples a second are learned
stream    one stream of lines, from its first byte to the last sample learned
batch     one request of 100,000 lines to answer after the other, and 100 single ones a second
delay     from sending one of 1,000 single samples a second to its being learned
watched   single predictions while the page is open in WATCHERS places and metrics are scraped each
          second, in turn with nobody watching
overload  ten times the sustainable rate for SECONDS: what is refused, what is learned, memory

The daemon is a process of its own, started by its command, with a population of CANDIDATES; the
load comes from this process, which takes its share of the processors too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np

from tests.daemon.processes import Server

RUN_FILE = """
[serve]
dir = "{folder}/models"
port = 0
max_rate = 1000000

[model.bench]
source.target = "label"
population.candidates = {candidates}
intake.max_queued = {queued}
"""
HEAD = "POST /v1/models/{model}/{part} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\n"


def samples(count: int, start: int = 0) -> list[dict[str, Any]]:
    """Eight numbers and a label that follows from them."""
    rng = np.random.default_rng(start)
    X = rng.normal(size=(count, 8)).round(3)
    labels = np.where(X[:, 0] + X[:, 1] * X[:, 2] > 0, "on", "off")
    names = [f"f{i}" for i in range(8)]
    return [
        {**dict(zip(names, row, strict=True)), "label": label}
        for row, label in zip(X.tolist(), labels.tolist(), strict=True)
    ]


def lines(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


class Connection:
    """A plain HTTP connection: a client library would take more time than the daemon."""

    def __init__(self, url: str) -> None:
        self._place = urlsplit(url)

    async def open(self) -> Connection:
        self._reader, self._writer = await asyncio.open_connection(
            self._place.hostname, self._place.port
        )
        return self

    async def post(
        self, part: str, body: bytes, kind: str = "application/json", model: str = "bench"
    ) -> int:
        head = HEAD.format(model=model, part=part, host=self._place.netloc, kind=kind)
        self._writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        return (await self._answer())[0]

    async def learned(self) -> int:
        """How many samples the daemon says that it has learned."""
        return int(json.loads((await self.get("/v1/models/bench"))[1])["learned"])

    async def get(
        self, path: str, encoding: str = "identity", fields: str = ""
    ) -> tuple[int, bytes]:
        """Status and body of a page; ``fields`` are further lines of the head."""
        head = f"GET {path} HTTP/1.1\r\nHost: {self._place.netloc}\r\n{fields}"
        self._writer.write(f"{head}Accept-Encoding: {encoding}\r\n\r\n".encode())
        return await self._answer()

    async def _answer(self) -> tuple[int, bytes]:
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        return int(head[9:12]), await self._reader.readexactly(length)

    def close(self) -> None:
        self._writer.close()


async def learn_at(url: str, rate: float, until: asyncio.Event, each: int = 50) -> int:
    """Send samples at a rate, ``each`` a request, until told; how many were accepted."""
    connection = await Connection(url).open()
    body = json.dumps({"samples": samples(each)}).encode()
    begun, sent, accepted = time.perf_counter(), 0, 0
    while not until.is_set():
        status = await connection.post("samples?ack=queued", body)
        accepted += each * (status < 300)
        sent += each
        await asyncio.sleep(max(0.0, begun + sent / rate - time.perf_counter()))
    connection.close()
    return accepted


async def predict_for(url: str, seconds: float, took: list[float], pause: float = 0.0) -> None:
    connection = await Connection(url).open()
    row = samples(1)[0]
    row.pop("label")
    body = json.dumps({"sample": row}).encode()
    end = time.perf_counter() + seconds
    while (begun := time.perf_counter()) < end:
        assert await connection.post("predict", body) == 200
        took.append(time.perf_counter() - begun)
        await asyncio.sleep(pause)
    connection.close()


def percentiles(took: list[float]) -> str:
    p50, p99 = np.percentile(took, (50, 99)) * 1000
    return f"p50 {p50:.2f} ms, p99 {p99:.2f} ms"


def learned(http: httpx.Client) -> int:
    return int(http.get("/v1/models/bench").json()["learned"])


def until_learned(http: httpx.Client, count: int) -> None:
    while learned(http) < count:
        time.sleep(0.005)


async def predict(server: Server, http: httpx.Client, seconds: float) -> None:
    until, took = asyncio.Event(), []  # type: ignore[var-annotated]
    learning = asyncio.create_task(learn_at(server.url, 5000, until))
    before, begun = learned(http), time.perf_counter()
    await asyncio.gather(*(predict_for(server.url, seconds, took) for _ in range(16)))
    until.set()
    await learning
    rate = (learned(http) - before) / (time.perf_counter() - begun)
    print(
        f"{len(took) / seconds:,.0f} predictions/s, {percentiles(took)}, while {rate:,.0f}/s learn"
    )


async def stream(server: Server, http: httpx.Client, seconds: float) -> None:
    rows = samples(50_000)
    text, count = lines(rows), 0
    connection = await Connection(server.url).open()
    before, begun = learned(http), time.perf_counter()
    while time.perf_counter() < begun + seconds:
        assert await connection.post("samples", text, "application/x-ndjson") == 200
        count += len(rows)
    until_learned(http, before + count)
    print(f"{count / (time.perf_counter() - begun):,.0f} samples/s streamed and learned")


async def batch(server: Server, http: httpx.Client, seconds: float) -> None:
    rows = samples(100_000)
    for row in rows:
        row.pop("label")
    text = lines(rows)
    took: list[float] = []
    singles = asyncio.create_task(predict_for(server.url, seconds, took, pause=0.01))
    connection = await Connection(server.url).open()
    begun, busy, count = time.perf_counter(), processor(server), 0
    while time.perf_counter() < begun + seconds:
        assert await connection.post("predict", text, "application/x-ndjson") == 200
        count += len(rows)
    rate, busy = count / (time.perf_counter() - begun), processor(server) - busy
    await singles
    print(f"{rate:,.0f} rows/s in batches of 100,000; single predictions {percentiles(took)}")
    print(f"{1e6 * busy / count:.2f} µs of the daemon's processor time a row, singles included")


async def delay(server: Server, http: httpx.Client, seconds: float) -> None:
    """A sample is learned when the daemon says so, which is asked every 2 ms."""
    connection = await Connection(server.url).open()
    asking = await Connection(server.url).open()
    body = json.dumps({"sample": samples(1)[0]}).encode()
    sent: list[float] = []
    before, begun, seen = learned(http), time.perf_counter(), 0
    took: list[float] = []

    async def watch() -> None:
        nonlocal seen
        while seen < len(sent) or time.perf_counter() < begun + seconds:
            now = await asking.learned() - before
            at = time.perf_counter()
            took.extend(at - one for one in sent[seen:now])
            seen = max(seen, now)
            await asyncio.sleep(0.002)

    watching = asyncio.create_task(watch())
    while (now := time.perf_counter()) < begun + seconds:
        sent.append(now)
        await connection.post("samples?ack=queued", body)
        await asyncio.sleep(max(0.0, begun + len(sent) / 1000 - time.perf_counter()))
    await watching
    print(f"{len(sent) / seconds:,.0f} samples/s, sent to learned: {percentiles(took)}")


# What the page asks for every 2 seconds, and every 20, and how; see streamnet/page/web/live.js and
# daemon.js.
SHARED = "Cache-Control: max-age=2\r\n"
OFTEN = ("", "/history", "/confusion", "/scores", "/leaders", "/rejected", "/champion")
SELDOM = ("/insight", "/features")
WATCHERS = 20


async def watch_page(url: str, until: asyncio.Event, delay: float) -> None:
    """Ask for what the page shows, as a browser does."""
    connection = await Connection(url).open()
    await asyncio.sleep(delay)
    for turn in count():
        if until.is_set():
            break
        assert (await connection.get("/v1/models", "gzip", SHARED))[0] == 200
        for part in OFTEN + (SELDOM if turn % 10 == 0 else ()):
            assert (await connection.get(f"/v1/models/bench{part}", "gzip", SHARED))[0] == 200
        await asyncio.sleep(2.0)
    connection.close()


async def scrape(url: str, until: asyncio.Event) -> None:
    connection = await Connection(url).open()
    while not until.is_set():
        assert (await connection.get("/metrics", "gzip"))[0] == 200
        await asyncio.sleep(1.0)
    connection.close()


async def watched(server: Server, http: httpx.Client, seconds: float) -> None:
    """The watchers take processor time of this process, too, which counts against the daemon."""
    del http
    ratios = []
    for _ in range(5):
        p99 = []
        for watchers in (0, WATCHERS):
            until, took = asyncio.Event(), []  # type: ignore[var-annotated]
            learning = asyncio.create_task(learn_at(server.url, 200, until, each=10))
            tasks: list[asyncio.Task[None]] = []
            for number in range(watchers):
                delay = 2.0 * number / watchers
                tasks.append(asyncio.create_task(watch_page(server.url, until, delay)))
            if watchers:
                tasks.append(asyncio.create_task(scrape(server.url, until)))
            await predict_for(server.url, seconds, took, pause=0.002)
            until.set()
            await asyncio.gather(learning, *tasks)
            print(f"{watchers} watchers: {percentiles(took)}")
            p99.append(float(np.percentile(took, 99)))
        ratios.append(p99[1] / p99[0])
    print(f"p99 with watchers by that without: {np.median(ratios):.2f}")


async def overload(server: Server, http: httpx.Client, seconds: float) -> None:
    connections = [await Connection(server.url).open() for _ in range(8)]
    body = json.dumps({"samples": samples(500)}).encode()
    counts: dict[int, int] = {}
    health: list[float] = []
    before, end = learned(http), time.perf_counter() + seconds

    async def push(connection: Connection) -> None:
        while time.perf_counter() < end:
            status = await connection.post("samples?ack=queued", body)
            counts[status] = counts.get(status, 0) + 500

    async def look() -> None:
        async with httpx.AsyncClient(base_url=server.url) as asking:
            while time.perf_counter() < end:
                begun = time.perf_counter()
                assert (await asking.get("/healthz")).status_code == 200
                health.append(time.perf_counter() - begun)
                await asyncio.sleep(0.05)

    memory = [resident(server)]
    await asyncio.gather(look(), *map(push, connections))
    memory.append(resident(server))
    accepted = counts.get(202, 0)
    until_learned(http, before + accepted)
    assert learned(http) == before + accepted
    refused = sum(counts.values()) - accepted
    print(f"{accepted:,} accepted and learned, {refused:,} refused by {sorted(counts)}")
    print(f"health {percentiles(health)}; memory {memory[0]:.0f} to {memory[1]:.0f} MiB")


def processor(server: Server) -> float:
    """Seconds of processor time that the daemon has taken: what others do hardly changes it."""
    stat = Path(f"/proc/{server.process.pid}/stat").read_text(encoding="ascii")
    user, system = stat.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def resident(server: Server) -> float:
    """MiB of memory that the daemon holds."""
    status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="ascii")
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


WHAT: dict[str, Callable[[Server, httpx.Client, float], Any]] = {
    "predict": predict,
    "stream": stream,
    "batch": batch,
    "delay": delay,
    "watched": watched,
    "overload": overload,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=WHAT)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--candidates", type=int, default=8)
    parser.add_argument("--queued", type=int, default=100_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "serve.toml"
        values = {"candidates": given.candidates, "queued": given.queued}
        path.write_text(RUN_FILE.format(folder=folder, **values), encoding="utf-8")
        server = Server([sys.executable, "-m", "streamnet", "serve", str(path)])
        try:
            with httpx.Client(base_url=server.url, timeout=60) as http:
                first = {"samples": samples(2000, start=1)}
                http.post("/v1/models/bench/samples", json=first).raise_for_status()
                until_learned(http, 2000)
                while http.get("/v1/models/bench/champion").status_code != 200:
                    time.sleep(0.05)
                asyncio.run(WHAT[given.what](server, http, given.seconds))
        finally:
            code, logged = server.end(signal.SIGTERM)
            if code:
                print(logged)


if __name__ == "__main__":
    main()
