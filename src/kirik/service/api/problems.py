"""Errors as problem+json (RFC 9457), and as pages for a browser that asked for one.

    {"type": "about:blank", "title": "Not Found", "status": 404, "reason": "not_found",
     "detail": "…"}

`reason` is a stable word for programs, `detail` a line for a person, and `code`, where there is
one, a finer word for what the person can do, from which pages say it in their language. Nothing
that an unforeseen error says is shown: it may hold what is nobody's business.
"""

import logging
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException

from kirik.errors import KirikError
from kirik.service.refusals import Refusal

log = logging.getLogger("kirik.service")

MEDIA_TYPE = "application/problem+json"
_WORDS = {
    400: "bad_request",
    401: "not_signed_in",
    403: "not_allowed",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    411: "length_required",
    413: "too_large",
    415: "unsupported",
    422: "invalid",
    429: "too_many",
    500: "error",
    503: "unavailable",
    507: "storage_full",
}


class Problem(Refusal):
    """A refusal of the API's own. more: further members of the document."""

    def __init__(self, status: int, detail: str, reason: str | None = None, **more):
        super().__init__(detail)
        self.status, self.reason, self.more = status, reason or _WORDS.get(status, "error"), more


def problem(
    status: int, detail: str = "", reason: str | None = None, headers=None, **more
) -> JSONResponse:
    """The document of an error."""
    said = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "reason": reason or _WORDS.get(status, "error"),
        "detail": detail or HTTPStatus(status).description or HTTPStatus(status).phrase,
        **more,
    }
    return JSONResponse(said, status, headers=headers, media_type=MEDIA_TYPE)


def answer(request: Request, error: Exception) -> Response:
    """What a request that was refused is answered: a page where it asked for one."""
    status, detail, reason, headers, more = _facts(error)
    if wants_page(request):
        from kirik.service.pages import error_page

        plain = status >= 500 or detail == HTTPStatus(status).phrase
        response = error_page(request, status, "" if plain else detail)
        response.headers.update(headers)
        return response
    return problem(status, detail, reason, headers, **more)


def wants_page(request: Request) -> bool:
    """Whether it is a browser that goes to a page, rather than a program or a page's script."""
    path = request.url.path
    if path.startswith(("/api/", "/static/", "/metrics", "/health")):
        return False
    return "text/html" in request.headers.get("accept", "")


def _facts(error: Exception) -> tuple[int, str, str | None, dict[str, str], dict]:
    """Status, detail, reason, headers and further members."""
    if isinstance(error, RequestValidationError):
        flaws = [_flaw(flaw) for flaw in error.errors()]
        return 422, "; ".join(flaws[:5]) or "not valid", "invalid", {}, {}
    if isinstance(error, Refusal):
        headers, more = {}, dict(getattr(error, "more", {}))
        if error.code:
            more["code"] = error.code
        if error.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if seconds := getattr(error, "seconds", None):
            headers["Retry-After"] = str(max(1, round(seconds)))
        return error.status, str(error), error.reason, headers, more
    if isinstance(error, HTTPException):
        return error.status_code, str(error.detail or ""), None, dict(error.headers or {}), {}
    if isinstance(error, KirikError):
        reason = getattr(error, "reason", None)
        return 422, " ".join(str(error).split()), reason or "invalid", {}, {}
    if isinstance(error, DBAPIError):
        log.error("the database refused (%s)", type(error.orig).__name__)
        detail = "the database is away for the moment; try again"
        return 503, detail, "unavailable", {"Retry-After": "5"}, {}
    log.error("an unforeseen error (%s)", type(error).__name__, exc_info=_harmless(error))
    return 500, "an unforeseen error; the server goes on", "error", {}, {}


def _harmless(error: Exception):
    """Where an error came from, without what it says: that may be a patient's."""
    return None if not error.__traceback__ else (_Unforeseen, _Unforeseen(), error.__traceback__)


class _Unforeseen(Exception):
    """Stands in a log for an error whose own words are not written there."""


def _flaw(flaw: dict) -> str:
    """What is wrong with a parameter, without its value."""
    place = ".".join(str(part) for part in flaw["loc"] if part not in ("body", "query", "path"))
    return f"{place}: {flaw['msg']}" if place else str(flaw["msg"])


def add_problems(app: FastAPI) -> None:
    """Have an app answer every error in this way."""

    async def handle(request: Request, error: Exception) -> Response:
        return answer(request, error)

    for kind in (RequestValidationError, HTTPException, KirikError, DBAPIError, Exception):
        app.add_exception_handler(kind, handle)
