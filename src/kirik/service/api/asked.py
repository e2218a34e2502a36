"""Who asks, and whether they may: what the endpoints depend on."""

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
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1", "[::1]"})
_PROXIED = ("x-forwarded-for", "x-forwarded-host", "forwarded", "via")


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is this machine's own."""
    return host in _LOOPBACK or (host.startswith("127.") and host.count(".") == 3)


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
        known = request.state.principal = find_who(request)
    return known


def find_who(request: Request) -> Principal:
    """The same, asked anew: who is signed out meanwhile is not found any more."""
    core = core_of(request)
    if token := bearer_of(request):
        if found := tokens.find(core, token):
            return found
        raise NotSignedIn("this token is none, or not any more; ask an administrator for another")
    if (secret := request.cookies.get(SESSION)) and (found := sessions.find(core, secret)):
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
    return here and named and not any(name in request.headers for name in _PROXIED)


async def refuse_forged(request: Request) -> None:
    """Refuse a change that another site's page may have made the browser ask for.

    A token is shown by no browser by itself. All else must come with a header that a foreign page
    cannot send without this server's leave, from an origin that is this server's, and, where there
    is a session, with what only its own pages can read.
    """
    if request.method in ("GET", "HEAD", "OPTIONS") or bearer_of(request):
        return
    secret, begins = request.cookies.get(SESSION), request.scope["path"].endswith("/session")
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


Room = Annotated[Core, Depends(_core)]
Who = Annotated[Principal, Depends(_who)]
Reviewer = Annotated[Principal, Depends(role("reviewer"))]
Administrator = Annotated[Principal, Depends(role("administrator"))]
StudyId = Annotated[str, Path(pattern=STUDY_ID, description="A study's id")]
