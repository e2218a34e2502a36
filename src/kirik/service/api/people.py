"""Who is signed in; accounts and tokens, for an administrator."""

from functools import partial

import anyio
from fastapi import APIRouter, Request, Response

from kirik.service import access, accounts, sessions, tokens
from kirik.service.access import LOCAL
from kirik.service.api import schemas
from kirik.service.api.asked import CSRF, SESSION, TO_ALL, Administrator, Room, Who
from kirik.service.core import Core
from kirik.service.refusals import Conflict
from kirik.service.tables import Account

router = APIRouter()


@router.get("/me", tags=["session"], response_model=schemas.Me)
def me(principal: Who) -> schemas.Me:
    """Who asks."""
    return schemas.Me(
        name=principal.name,
        role=principal.role,
        local=principal.kind == "local",
        patients=access.sees_patients(principal),
        language=principal.language,
    )


@router.post(
    "/session",
    status_code=201,
    tags=["session"],
    response_model=schemas.Me,
    openapi_extra=TO_ALL,
)
async def sign_in(
    request: Request, response: Response, core: Room, said: schemas.SignIn
) -> schemas.Me:
    """Sign in: the answer brings the session's cookie. A name or an address that fails too often
    must wait."""
    begin = partial(_begin, request, core, said)
    account, secret = await anyio.to_thread.run_sync(begin, limiter=request.app.state.signing_in)
    kept = {
        "secure": request.url.scheme == "https",
        "samesite": "lax",
        "max_age": round(core.settings.session_hours * 3600),
    }
    response.set_cookie(SESSION, secret, httponly=True, **kept)
    # Not HttpOnly: the pages' scripts read it, which another site's cannot.
    response.set_cookie(CSRF, sessions.csrf_of(secret), **kept)
    return schemas.Me(
        name=account.name,
        role=account.role,
        local=False,
        patients=account.patients,
        language=account.language,
    )


def _begin(request: Request, core: Core, said: schemas.SignIn) -> tuple[Account, str]:
    """The account, and the secret of its new session. Raises NotSignedIn, TooMany."""
    address = request.client.host if request.client else ""
    account = accounts.check_password(core, said.name, said.password, address)
    with core.database.writing() as session:
        # Begun first: it locks the account before its sessions, as all do who change one.
        secret = sessions.begin(session, account, core.settings)
        if old := request.cookies.get(SESSION):
            sessions.end(session, old)
        return account, secret


@router.delete("/session", status_code=204, tags=["session"])
def sign_out(request: Request, response: Response, core: Room) -> None:
    """Sign out; also where one was not signed in."""
    if secret := request.cookies.get(SESSION):
        with core.database.writing() as session:
            sessions.end(session, secret)
    response.delete_cookie(SESSION)
    response.delete_cookie(CSRF)


@router.get("/users", tags=["accounts"], response_model=list[schemas.User])
def users(core: Room, _: Administrator) -> list[schemas.User]:
    """All accounts."""
    with core.database.reading() as session:
        return [schemas.User.model_validate(one) for one in accounts.listed(session)]


@router.post("/users", status_code=201, tags=["accounts"], response_model=schemas.User)
def add_user(
    request: Request, core: Room, principal: Administrator, said: schemas.NewUser
) -> schemas.User:
    """Make an account. The first one must be an administrator's: from then on all must sign in."""
    with core.database.writing() as session:
        if principal == LOCAL and said.role != "administrator":
            what = "the first account must be an administrator's; make that one first"
            raise Conflict(what, "first_administrator")
        account = accounts.add(
            session,
            said.name,
            said.password,
            said.role,
            patients=said.patients,
            own=said.own,
            by=principal.name,
        )
        return schemas.User.model_validate(account)


@router.patch("/users/{name}", tags=["accounts"], response_model=schemas.User)
def change_user(
    core: Room, principal: Administrator, name: str, said: schemas.UserChange
) -> schemas.User:
    """Change a role, a right or a password, or disable an account; it is signed out then. Tokens
    with all rights that it made are removed once it is no administrator's any more."""
    changes = said.model_dump(exclude={"password"}, exclude_none=True)
    with core.database.writing() as session:
        account = accounts.change(session, name, by=principal.name, **changes)
        if said.password is not None:
            accounts.set_password(session, name, said.password, by=principal.name)
        return schemas.User.model_validate(account)


@router.get("/tokens", tags=["accounts"], response_model=list[schemas.Token])
def tokens_listed(core: Room, _: Administrator) -> list[schemas.Token]:
    """All tokens, without their keys, which are not kept."""
    with core.database.reading() as session:
        return [schemas.Token.model_validate(one) for one in tokens.listed(session)]


@router.post("/tokens", status_code=201, tags=["accounts"], response_model=schemas.TokenMade)
def add_token(core: Room, principal: Administrator, said: schemas.NewToken) -> schemas.TokenMade:
    """Make a token for a device or a program; its key is shown this once."""
    with core.database.writing() as session:
        made, key = tokens.make(
            session,
            said.name,
            said.role,
            patients=said.patients,
            own=said.own,
            by=principal.name,
        )
        known = schemas.Token.model_validate(made)
    return schemas.TokenMade(**known.model_dump(), token=key)


@router.delete("/tokens/{token}", status_code=204, tags=["accounts"])
def remove_token(core: Room, principal: Administrator, token: str) -> None:
    """From now on it opens nothing."""
    with core.database.writing() as session:
        tokens.remove(session, token, by=principal.name)
