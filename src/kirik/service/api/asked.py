"""Who asks, and whether they may: what the endpoints depend on."""

from ipaddress import ip_address
from typing import Annotated

from fastapi import Depends, Path, Request
from starlette.concurrency import run_in_threadpool

from kirik.service import access, sessions, tokens
from kirik.service.access import LOCAL, Principal
from kirik.service.api.problems import Problem
from kirik.service.api.schemas import STUDY_ID
from kirik.service.core import Core
from kirik.service.refusals import NotSignedIn

SESSION, CSRF = "kirik_session", "kirik_csrf"
"""Cookies: the session's secret, which no script can read, and what proves that a page asked."""

OWN_HEADER, CSRF_HEADER = "X-Requested-With", "X-CSRF-Token"
TO_ALL = {"security": []}
"""What OpenAPI says of what answers without a sign-in."""
_PROXIED = ("x-forwarded-", "x-real-ip", "forwarded", "via")
"""What a header that a proxy adds is called, or begins with."""


def is_loopback(host: str) -> bool:
    """Whether a host's name or address, without its port, is this machine's own: localhost, or an
    address that is written out, since any other name is whatever its owner says it is."""
    if host == "localhost":
        return True
    try:
        address = ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def core_of(request: Request) -> Core:
    """What is open: settings, database, files."""
    return request.app.state.core


def bearer_of(request: Request) -> str | None:
    """The token that a program shows."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def who(request: Request) -> Principal:
    """Who asks. Raises NotSignedIn."""
    if (known := getattr(request.state, "principal", None)) is None:
        known = request.state.principal = _found(request, used=True)
    return known


def find_who(request: Request) -> Principal:
    """The same, asked anew while an answer goes on: who is signed out meanwhile is not found any
    more. It is no use of a session, which would never be idle while a page listens."""
    return _found(request, used=False)


def _found(request: Request, *, used: bool) -> Principal:
    core = core_of(request)
    if token := bearer_of(request):
        if found := tokens.find(core, token, used=used):
            return found
        raise NotSignedIn("this token is none, or not any more; ask an administrator for another")
    secret = request.cookies.get(SESSION)
    if secret and (found := sessions.find(core, secret, used=used)):
        return found
    if is_open(request):
        return LOCAL
    raise NotSignedIn("sign in, or show a token (Authorization: Bearer …)")


def is_open(request: Request) -> bool:
    """Whether nobody needs to sign in: no account is there yet, the server listens to this machine
    alone, and it is this machine that asks, by its own name and not through another server."""
    state = request.app.state
    if state.closed:
        return False
    with core_of(request).database.reading() as session:
        state.closed = access.anyone(session)
    if state.closed or not is_loopback(state.core.settings.host):
        return False
    here = request.client is None or is_loopback(request.client.host)
    named = is_loopback(request.url.hostname or "")
    return here and named and not any(name.startswith(_PROXIED) for name in request.headers)


async def refuse_forged(request: Request) -> None:
    """Refuse a change that another site's page may have made the browser ask for.

    A token is shown by no browser by itself. All else must come with a header that a foreign page
    cannot send without this server's leave, from an origin that is this server's, and, where there
    is a session, with what only its own pages can read.
    """
    if request.method in ("GET", "HEAD", "OPTIONS") or bearer_of(request):
        return
    secret, begins = request.cookies.get(SESSION), request.scope["path"].endswith("/v1/session")
    if not secret and not begins:
        await _who(request)  # nobody at all is told to sign in
    origin, host = request.headers.get("origin"), request.headers.get("host", "")
    foreign = origin is not None and origin.partition("://")[2] != host
    if foreign or request.headers.get("sec-fetch-site", "same-origin") not in _OWN_SITES:
        raise Problem(403, "asked for by another site's page", "forged")
    if request.headers.get(OWN_HEADER) != "kirik":
        detail = f"send the header {OWN_HEADER}: kirik, or a token (Authorization: Bearer …)"
        raise Problem(403, detail, "forged")
    if secret and not begins and not _proved(request, secret):
        detail = f"send the cookie {CSRF} as the header {CSRF_HEADER}; load the page again"
        raise Problem(403, detail, "forged")


_OWN_SITES = ("same-origin", "none")


def _proved(request: Request, secret: str) -> bool:
    return sessions.verify_csrf(secret, request.headers.get(CSRF_HEADER, ""))


# FastAPI gives each dependency that is a plain function a turn on a thread, which takes longer than
# most of them do: only the question to the database gets one, and is asked once for each request.


async def _core(request: Request) -> Core:
    return core_of(request)


async def _who(request: Request) -> Principal:
    known = getattr(request.state, "principal", None)
    return known or await run_in_threadpool(who, request)


def role(least: str):
    """A dependency: who asks, of that role at least."""

    async def check(principal: "Who") -> Principal:
        access.require(principal, least)
        return principal

    return check


async def _sees_all(principal: "Who") -> Principal:
    access.require_all(principal)
    return principal


Room = Annotated[Core, Depends(_core)]
Who = Annotated[Principal, Depends(_who)]
Reviewer = Annotated[Principal, Depends(role("reviewer"))]
Administrator = Annotated[Principal, Depends(role("administrator"))]
SeesAll = Annotated[Principal, Depends(_sees_all)]
StudyId = Annotated[str, Path(pattern=STUDY_ID, description="A study's id")]
