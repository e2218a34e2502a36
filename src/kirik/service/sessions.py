"""Browsers' sessions: the cookie holds a secret of 256 bits, the database only its hash."""

import hashlib
import hmac
import secrets
from contextlib import suppress
from datetime import timedelta

from sqlalchemy import delete, or_
from sqlalchemy.orm import Session

from kirik.service import accounts, audit_trail
from kirik.service.access import Principal
from kirik.service.core import Core
from kirik.service.engine import now_of
from kirik.service.refusals import NotSignedIn, StorageFull, Unavailable
from kirik.service.settings import ServiceSettings
from kirik.service.tables import Account, SignIn

_SEEN_EVERY = timedelta(seconds=60)
"""A session's last use is written down at most so often."""


def begin(session: Session, account: Account, settings: ServiceSettings) -> str:
    """A new session; the secret for its cookie, which is not kept.

    account: as it was when its password was checked. Raises NotSignedIn where that one is another
    since, or the account is disabled.
    """
    if accounts.unchanged(session, account) is None:
        raise NotSignedIn("the account was changed meanwhile; sign in again")
    secret, moment = secrets.token_urlsafe(32), now_of(session)
    session.add(
        SignIn(
            key=key_of(secret),
            account_number=account.number,
            created_at=moment,
            last_seen_at=moment,
            expires_at=moment + timedelta(hours=settings.session_hours),
        )
    )
    audit_trail.record(session, account.name, "session.begun")
    return secret


def find(core: Core, secret: str, *, used: bool = True) -> Principal | None:
    """Whose session this is; None for one that is over, or never was.

    used: whether to write down that it is in use, which puts off its idle end.
    """
    idle = timedelta(minutes=core.settings.idle_minutes)
    with core.database.reading() as session:
        found = session.get(SignIn, key_of(secret))
        moment = now_of(session)
        if found is None or not found.account.enabled or found.expires_at <= moment:
            return None
        if moment - found.last_seen_at > idle:
            return None
        account, seen = found.account, moment - found.last_seen_at < _SEEN_EVERY
    if used and not seen:
        # Who only looks goes on looking where nothing can be written: a full disk, a locked file.
        with suppress(StorageFull, Unavailable), core.database.writing() as session:
            for row in (
                session.get(SignIn, key_of(secret)),
                session.get(Account, account.number),
            ):
                if row is not None:
                    row.last_seen_at = moment
    return Principal(
        account.name, account.role, account.patients, account.own, "person", account.language
    )


def end(session: Session, secret: str) -> None:
    """Sign out; nothing where there is no such session."""
    found = session.get(SignIn, key_of(secret))
    if found is not None:
        audit_trail.record(session, found.account.name, "session.ended")
        session.delete(found)


def forget(session: Session, settings: ServiceSettings) -> int:
    """Delete the sessions that are over; how many."""
    moment = now_of(session)
    idle = moment - timedelta(minutes=settings.idle_minutes)
    over = or_(SignIn.expires_at <= moment, SignIn.last_seen_at < idle)
    return session.execute(delete(SignIn).where(over)).rowcount


def key_of(secret: str) -> str:
    """What the database keeps of a secret. It is random enough that no salt is needed."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def csrf_of(secret: str) -> str:
    """The word that a session's forms and scripts must show beside its cookie."""
    return hmac.new(secret.encode(), b"kirik csrf", hashlib.sha256).hexdigest()


def verify_csrf(secret: str, given: str) -> bool:
    """Whether it is that word."""
    return hmac.compare_digest(csrf_of(secret).encode(), given.encode("utf-8", "replace"))
