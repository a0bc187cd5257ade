"""A stand-in for the daemon: a real server with the data that the page reads."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator
from typing import Any, Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from streamnet.page import load_assets

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
CURVE = [0.62, 0.7, 0.81, 0.79, 0.9, None, 0.93]
HOSTILE = "</td></script><img src=x onerror=\"document.title='owned'\"><b>bold</b>"


def history(points: int, *, regression: bool = False) -> dict[str, Any]:
    """A score that improves, falls at a drift, and improves again."""
    samples = [512 * (i + 1) for i in range(points)]
    wave = [0.02 * ((i * 7) % 11 - 5) / 5 for i in range(points)]
    fall = [0.18 if points // 2 < i < points // 2 + points // 12 else 0.0 for i in range(points)]
    served = [0.93 - 0.25 / (1 + i / 6) - fall[i] + wave[i] for i in range(points)]
    majority = [0.60 + wave[i] for i in range(points)]
    no_change = [0.72 + 2 * wave[-i] for i in range(points)]
    names = ("mean", "no_change") if regression else ("majority", "no_change")
    scale = (lambda values: [round(40 * (1 - v), 4) for v in values]) if regression else list
    middle = samples[points // 2] if points else 0
    marks = [
        {"number": n, "kind": "champion", "text": f"#{7 + n % 5} tanh 32, rmsprop 0.01"}
        for n in samples[3 :: max(points // 5, 1)]
    ]
    marks.append({"number": middle, "kind": "drift", "text": "loss rose from 0.1 to 0.3"})
    return {
        "measure": "mae" if regression else "accuracy",
        "samples": samples,
        "series": {"served": scale(served), names[0]: scale(majority), names[1]: scale(no_change)},
        "marks": marks if points else [],
    }


def leaders(count: int = 12) -> list[dict[str, Any]]:
    kinds = ("tanh 32, rmsprop 0.01", "relu 128, adagrad 0.1", "tanh 64-32, sgd 0.03, lags")
    return [
        {
            "candidate": 40 + i,
            "settings": kinds[i % 3],
            "loss": 0.21 + 0.013 * i,
            "state": "quarantined" if i == count - 1 else "competing",
            "champion": i == 0,
            "born": 2048 * (i % 5),
            "scores": {"accuracy": 0.92 - 0.004 * i, "mae": 3.0 + 0.2 * i},
            "weight": max(0.0, 0.5 - 0.1 * i) / 1.5,
        }
        for i in range(count)
    ]


def contenders(names: tuple[str, ...] = ("majority", "no_change")) -> list[dict[str, Any]]:
    tracks = ("ensemble", "champion", "model", *names)
    return [
        {
            "track": track,
            "served": track == "ensemble",
            "overall": {"accuracy": 0.92 - 0.05 * i, "mae": 3.0 + i, "log_loss": None},
            "sliding": {"accuracy": 0.95 - 0.05 * i, "mae": 2.5 + i, "log_loss": 0.2},
        }
        for i, track in enumerate(tracks)
    ]


def labels_model(name: str = "traffic") -> dict[str, Any]:
    """All data of a model that predicts labels, one of which is hostile."""
    return {
        "status": {
            "name": name,
            "state": "learning",
            "task": "classification",
            "target": "jam",
            "samples": 61440,
            "measure": "accuracy",
            "served": 0.9134,
            "accepted": 61502,
            "learned": 61440,
            "scored": 61000,
            "requested": 1200,
            "unlabeled": 440,
            "in_flight": 62,
            "max_queued": 10000,
            "rejected": {"wrong_type": 9, "no_target": 3},
            "pending": 41,
            "learned_per_second": 5120.0,
            "predicted_per_second": 310.0,
            "checkpoint_age": 6.2,
            "uptime": 86500.0,
            "generation": 12,
            "switches": 6,
            "drifts": 1,
            "baselines": {"majority": 0.601, "no_change": 0.72},
        },
        "history": history(120),
        "leaders": leaders(),
        "scores": contenders(),
        "features": [
            {"name": "road", "drift": None},
            {"name": "at", "drift": 0.2, "missing": 0.0, "reference_missing": 0.0},
            {"name": "speed", "drift": 0.713, "missing": 0.25, "reference_missing": 0.01},
        ],
        "insight": {
            "task": "classification",
            "samples": 256,
            "permuted": 128,
            "importance": [
                {"column": "speed", "loss": 0.231},
                {"column": HOSTILE, "loss": 0.02},
                {"column": "at", "loss": -0.001},
            ],
            "errors": [
                {
                    "number": 61_400,
                    "sample": {"speed": 88.0, "road": "A1", "note": HOSTILE},
                    "truth": "slow",
                    "prediction": HOSTILE,
                    "error": 0.985,
                }
            ],
            "last": {"speed": 61.5, "road": "B7", "at": "2026-11-28T12:00:00"},
        },
        "confusion": {
            "kind": "confusion",
            "labels": ["free", "slow", HOSTILE],
            "matrix": [[30210, 1200, 40], [9800, 10900, 310], [12, 4240, 3128]],
            "classes": [
                {"label": "free", "truths": 31450, "predictions": 40022, "hits": 30210},
                {"label": "slow", "truths": 21010, "predictions": 16340, "hits": 10900},
                {"label": HOSTILE, "truths": 7380, "predictions": 3478, "hits": 3128},
            ],
            "calibration": [
                {"predicted": 0.03, "observed": 0.02, "samples": 90_000},
                {"predicted": 0.52, "observed": 0.47, "samples": 9000},
                {"predicted": 0.96, "observed": 0.95, "samples": 50_000},
            ],
            "confused": [
                {"truth": "slow", "prediction": "free", "count": 9800},
                {"truth": HOSTILE, "prediction": "slow", "count": 4240},
            ],
        },
        "rejected": {
            "total": 12,
            "by_reason": {"wrong_type": 9, "no_target": 3},
            "last": [
                {
                    "source": "http",
                    "line": 8812,
                    "reason": "wrong_type",
                    "detail": "speed is 'fast', but must be a number",
                    "time": 1_700_000_000.0,
                    "raw": f'{{"speed": "fast", "note": "{HOSTILE}"}}',
                }
            ],
        },
        "champion": {
            "generation": 12,
            "settings": "tanh 32, rmsprop 0.01 and 5 more",
            "networks": 6,
            "task": "classification",
            "target": "jam",
            "labels": ["free", "slow", HOSTILE],
            "fields": [
                {"name": "speed", "kind": "number"},
                {"name": "road", "kind": "category", "values": ["A1", "B7"]},
                {"name": "at", "kind": "time"},
                {"name": HOSTILE, "kind": "text"},
            ],
        },
    }


def numbers_model(name: str = "bikes") -> dict[str, Any]:
    """All data of a model that predicts numbers."""
    model = labels_model(name)
    model["status"] |= {
        "task": "regression",
        "target": "count",
        "measure": "mae",
        "served": 3.21,
        "baselines": {"mean": 16.0, "no_change": 11.2},
        "intervals": {
            "level": 0.9,
            "scored": 61000,
            "recent": 1000,
            "overall": {"coverage": 0.9012, "mean_width": 12.5, "interval_score": 17.25},
            "sliding": {"coverage": 0.893, "mean_width": 11.0, "interval_score": 18.5},
        },
    }
    coverage = [0.9 + 0.03 * ((i * 5) % 7 - 3) / 3 for i in range(120)]
    model["scores"] = contenders(("mean", "no_change"))
    model["history"] = history(120, regression=True) | {
        "intervals": {
            "samples": [512 * (i + 1) for i in range(120)],
            "series": {"coverage": coverage, "mean_width": [12.5] * 120},
        }
    }
    counts = [round(900 / (1 + (i - 12) ** 2)) for i in range(25)]
    edges = [-12.5 + i for i in range(26)]
    pairs = [[float(i % 40), float(i % 40 + (i * 7) % 9 - 4)] for i in range(300)]
    model["confusion"] = {"kind": "residuals", "edges": edges, "counts": counts, "pairs": pairs}
    model["insight"] |= {"task": "regression"}
    return model


class StandIn:
    """A server in a thread of its own; a context manager.

    Args:
        models: By name, all shapes of each.
        token: That requests must have; None for none.
    """

    def __init__(self, *models: dict[str, Any], token: str | None = None) -> None:
        self.models = {model["status"]["name"]: model for model in models}
        self.token = token
        self.events: list[dict[str, Any]] = []
        self.seen: list[tuple[str, dict[str, str]]] = []  # path, and headers, of each request
        self.asked: list[dict[str, Any]] = []  # bodies of predict
        self.prediction: dict[str, Any] = {}
        self.acts: list[str] = []  # changes of models
        self.slow: set[str] = set()  # what is not answered
        self.scopes = ["read", "predict", "learn", "admin"]  # that every token has
        self.broken = False  # whether every request gets 503
        self.hang_up = threading.Event()  # ends the streams of events that are open
        routes = [
            Route("/", self._page),
            Route("/page/{name}", self._page),
            Route("/v1/models", self._models),
            Route("/v1/overview", self._overview),
            Route("/v1/permissions", self._permissions),
            Route("/v1/models/{model}", self._shape),
            Route("/v1/models/{model}/predict", self._predict, methods=["POST"]),
            Route("/v1/models/{model}/events", self._events),
            Route("/v1/models/{model}/model", self._download),
            Route("/v1/models/{model}/{act:str}", self._act, methods=["POST"]),
            Route("/v1/models/{model}/{shape}", self._shape),
        ]
        app = Starlette(routes=[*routes, Mount("/below", routes=routes)])
        config = uvicorn.Config(app, port=0, log_level="error", lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)

    def __enter__(self) -> Self:
        self._thread.start()
        deadline = time.monotonic() + 60
        while not self._server.started:
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()

    @property
    def address(self) -> str:
        port = self._server.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}/"

    @property
    def page(self) -> str:
        """The page of the first model."""
        name = next(iter(self.models), None)
        return self.address if name is None else f"{self.address}?model={name}"

    def happen(self, kind: str, **data: Any) -> None:
        event = {"id": len(self.events) + 1, "kind": kind, "time": 1.7e9 + len(self.events)}
        self.events.append({**event, "data": data})

    def _page(self, request: Request) -> Response:
        asset = load_assets()[request.path_params.get("name", "index.html")]
        headers = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff"}
        return Response(asset.data, media_type=asset.media_type, headers=headers)

    def _refusal(self, request: Request) -> Response | None:
        self.seen.append(
            (
                str(request.url).removeprefix(str(request.base_url).rstrip("/")),
                dict(request.headers),
            )
        )
        if self.broken:
            return JSONResponse({"detail": "the disk is full"}, 503)
        if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
            return JSONResponse({"detail": "a token is needed"}, 401)
        return None

    async def _models(self, request: Request) -> Response:
        lines = [model["status"] for model in self.models.values()]
        return self._refusal(request) or JSONResponse(lines)

    async def _overview(self, request: Request) -> Response:
        lines = [{**model["status"], "curve": CURVE} for model in self.models.values()]
        return self._refusal(request) or JSONResponse(lines)

    async def _permissions(self, request: Request) -> Response:
        return self._refusal(request) or JSONResponse({"scopes": self.scopes})

    async def _act(self, request: Request) -> Response:
        status = self.models[request.path_params["model"]]["status"]
        act = request.path_params["act"]
        self.acts.append(act)
        status["state"] = "paused" if act == "pause" else "learning"
        return self._refusal(request) or JSONResponse(status)

    async def _shape(self, request: Request) -> Response:
        model = self.models[request.path_params["model"]]
        shape = request.path_params.get("shape", "status")
        while shape in self.slow:  # noqa: ASYNC110 - changed by another thread
            await asyncio.sleep(0.01)
        found = model.get(shape)
        reply = JSONResponse({"detail": "not ready"}, 409) if found is None else JSONResponse(found)
        return self._refusal(request) or reply

    async def _predict(self, request: Request) -> Response:
        self.asked.append(json.loads(await request.body()))
        return self._refusal(request) or JSONResponse(self.prediction)

    async def _download(self, request: Request) -> Response:
        return self._refusal(request) or Response(b"a model", media_type="application/octet-stream")

    async def _events(self, request: Request) -> Response:
        after = int(request.headers.get("last-event-id", 0))
        stream = StreamingResponse(self._stream(after), media_type="text/event-stream")
        return self._refusal(request) or stream

    async def _stream(self, after: int) -> AsyncIterator[str]:
        yield ": beat\n\n"
        self.hang_up.clear()
        while not self._server.should_exit and not self.hang_up.is_set():
            for event in self.events[after:]:
                yield f"id: {event['id']}\nevent: {event['kind']}\ndata: {json.dumps(event)}\n\n"
                after = event["id"]
            await asyncio.sleep(0.02)
