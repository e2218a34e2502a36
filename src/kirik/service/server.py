"""uvicorn, as the reading room runs it."""

from pathlib import Path

import uvicorn
from fastapi import FastAPI

_GRACE = 5
"""Seconds that requests in hand get when the server stops."""


def config(
    app: FastAPI, certificate: Path | None = None, key: Path | None = None
) -> uvicorn.Config:
    """How uvicorn runs an app: without a line for each request, since an address may hold what
    somebody searched for."""
    return uvicorn.Config(
        app,
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=_GRACE,
        timeout_keep_alive=30,
        ws="none",
        lifespan="on",
        ssl_certfile=certificate and str(certificate),
        ssl_keyfile=key and str(key),
    )


class Server(uvicorn.Server):
    """Lets go of the pages that listen before it waits for its connections to end."""

    async def shutdown(self, sockets=None) -> None:
        hub = getattr(self.config.app.state, "hub", None)
        if hub is not None:
            hub.end()
        await super().shutdown(sockets)
