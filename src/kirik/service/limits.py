"""How often something may be done, counted in the database, so that it holds for all processes."""

import hashlib
from datetime import timedelta

from sqlalchemy import delete
from sqlalchemy.orm import Session

from kirik.service.core import Core
from kirik.service.engine import insert_once, now_of
from kirik.service.refusals import TooMany
from kirik.service.tables import Hit


def hit(core: Core, key: str, most: int, seconds: float) -> None:
    """Count one more time. Raises TooMany from the time after `most` on within `seconds`."""
    with core.database.writing() as session:
        row = row_of(session, key, seconds)
        row.count += 1
        left = (row.until - now_of(session)).total_seconds()
        over = row.count > most
    if over:
        raise TooMany("too many requests; wait a little", max(1.0, left))


def row_of(session: Session, key: str, seconds: float) -> Hit:
    """The count of a key, locked, from 0 again where its time is over."""
    stored, moment = _stored(key), now_of(session)
    later = moment + timedelta(seconds=seconds)
    insert_once(session, Hit, key=stored, count=0, until=later)
    row = session.get(Hit, stored, with_for_update=True, populate_existing=True)
    if row.until <= moment:
        row.count, row.until = 0, later
    return row


def forget(session: Session) -> int:
    """Delete the counts whose time is over; how many."""
    moment = now_of(session)
    over = (Hit.until < moment) & (Hit.locked_until.is_(None) | (Hit.locked_until < moment))
    return session.execute(delete(Hit).where(over)).rowcount


def _stored(key: str) -> str:
    """Names and addresses are not kept longer than they are; hashed, they fit any column."""
    kind, _, rest = key.partition(":")
    return f"{kind}:{hashlib.sha256(rest.encode('utf-8', 'replace')).hexdigest()}"
