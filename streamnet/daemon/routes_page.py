"""The page: its files as they are shipped, for everybody; what it shows may need a token.

They are no part of the interface, so the OpenAPI document doesn't name them.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from streamnet.daemon.problems import problem
from streamnet.page import assets

__all__ = ("ROUTES",)

_FRESH = {"cache-control": "no-cache"}  # ask again whether it has changed


async def _index(_: Request) -> Response:
    return _file("index.html")


async def _asset(request: Request) -> Response:
    return _file(request.path_params["file"])


def _file(name: str) -> Response:
    asset = assets().get(name)
    if asset is None:
        return problem(404, "the page has no such file")
    return Response(asset.data, headers=_FRESH, media_type=asset.media_type)


ROUTES = (Route("/", _index), Route("/page/{file}", _asset))
