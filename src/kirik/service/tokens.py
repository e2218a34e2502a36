"""What devices and programs show instead of a password; the database keeps only its hash."""

import secrets
from contextlib import suppress
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from kirik.service import audit_trail
from kirik.service.access import Principal
from kirik.service.accounts import checked_name, is_taken
from kirik.service.core import Core
from kirik.service.engine import now_of
from kirik.service.refusals import Conflict, Invalid, NotFound, StorageFull, Unavailable
from kirik.service.sessions import key_of
from kirik.service.tables import ROLES, Token

PREFIX = "kirik_"
"""So that a token that got out is known for one by those who look for such."""

_SEEN_EVERY = timedelta(seconds=60)


def make(
    session: Session,
    name: str,
    role: str,
    *,
    by: str,
    patients: bool = False,
    own: bool = False,
) -> tuple[Token, str]:
    """A token, and its secret, which cannot be shown again. Raises Invalid, Conflict."""
    name = checked_name(name)
    if role not in ROLES:
        raise Invalid(f"role {role!r}: give {', '.join(ROLES)}")
    if is_taken(session, name):
        raise Conflict(f"the name {name} is taken; choose another", "name_taken")
    secret = PREFIX + secrets.token_urlsafe(32)
    token = Token(
        key=key_of(secret), name=name, role=role, patients=patients, own=own, created_by=by
    )
    session.add(token)
    session.flush()
    audit_trail.record(session, by, "token.made", name, role=role, patients=patients, own=own)
    return token, secret


def listed(session: Session) -> list[Token]:
    """All tokens by name."""
    return list(session.scalars(select(Token).order_by(Token.name)))


def remove(session: Session, token_id: str, *, by: str) -> None:
    """From now on it opens nothing. Raises NotFound."""
    token = session.get(Token, token_id)
    if token is None:
        raise NotFound("no such token; it may have been removed")
    audit_trail.record(session, by, "token.removed", token.name)
    session.delete(token)


def find(core: Core, secret: str, *, used: bool = True) -> Principal | None:
    """Whose token this is, or None. used: whether to write down that it is in use."""
    if not secret.startswith(PREFIX):
        return None
    with core.database.reading() as session:
        token = session.scalar(select(Token).where(Token.key == key_of(secret)))
        if token is None:
            return None
        moment = now_of(session)
    if used and (token.last_used_at is None or moment - token.last_used_at > _SEEN_EVERY):
        # See `sessions.find`.
        with suppress(StorageFull, Unavailable), core.database.writing() as session:
            row = session.get(Token, token.id)
            if row is not None:
                row.last_used_at = moment
    return Principal(token.name, token.role, token.patients, token.own, "device")
