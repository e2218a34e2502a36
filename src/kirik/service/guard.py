"""What stands before every request: limits, headers, and sign-in before any page.

Pure ASGI, so that neither an upload nor a stream of events is held up in memory.
"""

import logging
import time
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kirik.service.api import asked
from kirik.service.api.problems import Problem, answer
from kirik.service.metrics import Metrics
from kirik.service.refusals import Refusal, TooMany

log = logging.getLogger("kirik.service.requests")

_NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_PAGES = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer: a form of these pages would then send `Origin: null`.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
_CSP, _CACHE = b"content-security-policy", b"cache-control"
_COMMON = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]
_OURS = {_CSP, *(name for name, _ in _COMMON)}
_HSTS = (b"strict-transport-security", b"max-age=31536000")
SMALL_BODY = 2**20
"""Bytes of a request that brings no files."""

_FREE = ("/login", "/static/", "/api/", "/health", "/metrics", "/favicon.ico")


@dataclass(frozen=True)
class Rates:
    """Requests a minute that are answered: of one session or token, and of one address."""

    known: int = 3_000
    address: int = 12_000


class _Buckets:
    """So many a minute for each key, with a minute's worth at once; in this process alone."""

    _MOST = 10_000

    def __init__(self, most: int):
        self._most, self._left = most, {}

    def take(self, key: str) -> float:
        """Take one; 0, or the seconds until there is one."""
        moment = time.monotonic()
        left, then = self._left.get(key, (float(self._most), moment))
        left = min(self._most, left + (moment - then) * self._most / 60)
        enough = left >= 1
        self._left[key] = (left - 1 if enough else left, moment)
        if len(self._left) > self._MOST:
            self._forget(moment)
        return 0.0 if enough else (1 - left) * 60 / self._most

    def _forget(self, moment: float) -> None:
        """Leave out those that are full again; where that is not enough, all of them."""
        kept = {key: one for key, one in self._left.items() if moment - one[1] < 60}
        self._left = kept if len(kept) <= self._MOST else {}


class Guard:
    """The outermost middleware. most_body: bytes of a request, by the end of its path; else
    `SMALL_BODY`."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, rates: Rates, most_body: dict[str, int]):
        self._app, self._metrics, self._most_body = app, metrics, most_body
        self._known, self._addresses = _Buckets(rates.known), _Buckets(rates.address)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await self._serve(Request(scope, receive), receive, send)

    async def _serve(self, request: Request, receive: Receive, send: Send) -> None:
        began, status = time.perf_counter(), 0

        async def dressed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _dress(request, message)
            await send(message)

        try:
            self._admit(request)
            limited = _limited(receive, self._most(request))
            await self._app(request.scope, limited, dressed)
        except ClientDisconnect:
            log.info("the asker hung up")
        except Exception as error:
            if status:  # half an answer: nothing can be said any more
                log.error("an answer broke off (%s)", type(error).__name__)
            else:
                await answer(request, error)(request.scope, receive, dressed)
        finally:
            self._note(request, status, time.perf_counter() - began)

    def _admit(self, request: Request) -> None:
        """Refuse, before anything is read, what is too much, or no text that a database keeps."""
        address = _address(request)
        if wait := max(
            self._addresses.take(address),
            self._known.take(key) if (key := _credential(request)) else 0,
        ):
            raise TooMany("too many requests; wait a moment", wait)
        if b"%00" in request.scope.get("raw_path", b"") + b"?" + request.scope["query_string"]:
            raise Problem(400, "a NUL in the address")
        length = request.headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self._most(request):
            raise _too_large(self._most(request))

    def _most(self, request: Request) -> int:
        if request.method != "POST":
            return SMALL_BODY
        return self._most_body.get(request.scope["path"], SMALL_BODY)

    def _note(self, request: Request, status: int, seconds: float) -> None:
        place = _declared(request)
        self._metrics.request(request.method, place, status or 499, seconds)
        log.info("%s %s %s %.0f ms", request.method, place, status or 499, seconds * 1000)


class PagesSignedIn:
    """Pages are for those who are signed in; others are led to where that is done."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not scope["path"].startswith(_FREE):
            request = Request(scope, receive)
            try:
                await run_in_threadpool(asked.who, request)
            except Refusal as error:
                await answer(request, error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _declared(request: Request) -> str:
    """The path as it was declared, without ids and names, which stand in no log and no metric."""
    if "endpoint" not in request.scope:
        return "other"
    path = request.scope["path"]
    if path.startswith("/static/"):
        return "/static"
    names = {str(value): f"{{{name}}}" for name, value in request.path_params.items()}
    return "/".join(names.get(part, part) for part in path.split("/"))


def _dress(request: Request, message: Message) -> None:
    """The headers of every answer."""
    given = [one for one in message.get("headers", ()) if one[0].lower() not in _OURS]
    names = {name.lower(): value for name, value in given}
    is_page = names.get(b"content-type", b"").startswith(b"text/html")
    headers = [*given, *_COMMON, (_CSP, (_PAGES if is_page else _NOTHING).encode())]
    if _CACHE not in names:
        headers.append((_CACHE, b"no-store"))
    if request.scope["scheme"] == "https":
        headers.append(_HSTS)
    message["headers"] = headers


def _limited(receive: Receive, most: int) -> Receive:
    """Refuse a body that turns out larger than it may be."""
    taken = 0

    async def limited() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > most:
            raise _too_large(most)
        return message

    return limited


def _too_large(most: int) -> HTTPException:
    return HTTPException(
        413, f"more than the limit of {most / 2**20:,.0f} MiB; send less at a time"
    )


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _credential(request: Request) -> str | None:
    """What a request shows; whether it is anybody's is not known yet."""
    shown = asked.bearer_of(request) or request.cookies.get(asked.SESSION)
    return f"{hash(shown)}" if shown else None
