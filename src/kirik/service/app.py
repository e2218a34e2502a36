"""The reading room as an ASGI application: API, pages, and what stands before them.

    app = create_app(ServiceSettings(...))

Nothing here reads radiographs: that is a worker's, see `kirik.service.worker`.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache

import anyio
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import RedirectResponse, Response
from fastapi.routing import APIRoute

from kirik import __version__
from kirik.service.api import asked, live, people, pictures, problems, room, schemas, studies
from kirik.service.core import Core, open_core
from kirik.service.events import Hub
from kirik.service.films import Films
from kirik.service.guard import Guard, PagesSignedIn, Rates
from kirik.service.metrics import Metrics
from kirik.service.settings import MIB, ServiceSettings

API = "/api/v1"

_ABOUT = """
Hand radiographs in, see them read, judge the readings.

Show a token (`Authorization: Bearer …`), or sign in (`POST /session`) and send the header
`X-Requested-With: kirik` and the cookie `kirik_csrf` as the header `X-CSRF-Token` with all that
changes something. Errors are problem+json (RFC 9457) with a stable word in `reason`.

For research and decision support; not a medical device.
"""
_ERRORS = (400, 401, 403, 404, 409, 422, 429, 503)
_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A token of an administrator's"},
    "cookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": asked.SESSION,
        "description": "What `POST /session` brings; see above for what must come with it",
    },
}
_SECURITY = [{"bearer": []}, {"cookie": []}, {}]
"""The last: this machine itself needs nothing while no account is there."""


def create_app(
    settings: ServiceSettings | None = None, *, core: Core | None = None, rates: Rates | None = None
) -> FastAPI:
    """The application. core: opened already, and closed by who opened it; else of `settings`.

    Raises as `open_core` does.
    """
    own = core is None
    core = core or open_core(settings or ServiceSettings())
    app = FastAPI(
        title="kirik: the reading room",
        description=_ABOUT,
        version=__version__,
        openapi_url=f"{API}/openapi.json",
        # FastAPI's own pages would load scripts from another host.
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan(own),
        generate_unique_id_function=_operation,
    )
    state = app.state
    state.core, state.metrics, state.films = core, Metrics(), Films(core)
    state.closed = False
    problems.add_problems(app)
    app.include_router(_api())
    _describe(app)
    _add_places(app)
    app.add_middleware(PagesSignedIn)
    uploads = core.settings.most_request_bytes + MIB  # the boundaries between the files
    app.add_middleware(
        Guard,
        metrics=state.metrics,
        rates=rates or Rates(),
        most_body={f"{API}/studies": uploads, f"{API}/model": room.MODEL_BYTES},
    )
    return app


def _api() -> APIRouter:
    api = APIRouter(
        prefix=API,
        dependencies=[Depends(asked.refuse_forged)],
        responses={code: _error() for code in _ERRORS},
    )
    for part in (studies, pictures, live, people, room):
        api.include_router(part.router)
    return api


def _error() -> dict:
    schema = schemas.Problem.model_json_schema()
    return {"description": "An error", "content": {problems.MEDIA_TYPE: {"schema": schema}}}


def _describe(app: FastAPI) -> None:
    """Have the description tell what FastAPI cannot see: how one shows who asks, and what can be
    wrong with a body."""
    plain = app.openapi

    @cache
    def openapi() -> dict:
        said = plain()
        said["security"] = _SECURITY
        said.setdefault("components", {})["securitySchemes"] = _SCHEMES
        for methods in said["paths"].values():
            for method, operation in methods.items():
                sent = operation.get("requestBody", {}).get("content", {})
                codes = [413] if sent else []
                codes += [415] if "multipart/form-data" in sent else []
                codes += [] if method == "get" else [507]
                operation["responses"] |= {str(code): _error() for code in codes}
        return said

    app.openapi = openapi


def _add_places(app: FastAPI) -> None:
    """What lies outside the API: pages, health and metrics for those who watch over it."""
    from kirik.service.pages import add_pages

    # What watches over a server often asks by HEAD.
    app.add_api_route("/health", room.health, methods=["GET", "HEAD"], include_in_schema=False)
    app.add_api_route("/metrics", room.metrics, include_in_schema=False)

    @app.get("/favicon.ico", include_in_schema=False)
    def icon(_: Request) -> Response:
        return RedirectResponse("/static/icon.svg", 301)

    add_pages(app)


def _lifespan(own: bool):
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.hub = Hub(app.state.core, app.state.metrics)
        # Reading has the cores; whoever looks at pictures waits in turn.
        app.state.drawing = anyio.CapacityLimiter(max(1, min(2, os.cpu_count() or 1)))
        # A zip takes long, and must not hold every thread that pages need.
        app.state.taking_in = anyio.CapacityLimiter(8)
        # A password's hash takes 64 MiB while it is checked.
        app.state.signing_in = anyio.CapacityLimiter(2)
        yield
        app.state.hub.end()
        if own:
            app.state.core.close()

    return lifespan


def _operation(route: APIRoute) -> str:
    return route.name
