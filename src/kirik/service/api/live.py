"""The stream of changes."""

from functools import partial

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from kirik.service.api import asked
from kirik.service.api.asked import Who

router = APIRouter()
_STREAM = {200: {"content": {"text/event-stream": {}}, "description": "Events, as they happen"}}


@router.get("/events", tags=["studies"], response_class=StreamingResponse, responses=_STREAM)
async def events(request: Request, principal: Who) -> StreamingResponse:
    """Server-sent events: `study` with a study that changed, `gone` with the id of one that was
    deleted, `counts` of the work list. Goes on after the header Last-Event-ID."""
    hub = request.app.state.hub
    hub.admit(principal)
    since = request.headers.get("last-event-id", "")
    number = int(since) if since.isdecimal() and len(since) < 18 else None
    stream = hub.listen(principal, number, partial(asked.find_who, request))
    return StreamingResponse(
        stream, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
    )
