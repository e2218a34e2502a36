"""Work is a row's state: claimed with a lease, finished once, and taken up again after any crash.

    waiting ── claim ──▶ reading ── finish ──▶ read or failed
       ▲                    │
       └── release, or the lease runs out ──┘

A worker that is alive renews its leases (`heartbeat`). One that was killed does not, and another
takes its studies up. One that was only slow finds, when it comes to finish, that the lease is
not its own any more, and its result is dropped: each study is read once.
"""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Row, bindparam, exists, or_, select, text, update
from sqlalchemy.orm import Session

from kirik.service import audit_trail, tables
from kirik.service.core import Core
from kirik.service.engine import changed, insert_all_once, now_of
from kirik.service.refusals import NotFound
from kirik.service.results import Result, row_of, settled
from kirik.service.tables import FAILED, READ, READING, URGENCY, WAITING, Study

ALONE_AFTER, GIVE_UP_AFTER = 2, 8
"""A study that was taken up so often without an end may be what kills its worker: from then on it
is claimed by itself, and at last given up."""

AWAY = ("missing", "unreadable", "no_permission")
"""Reasons of a file that is not there: its folder may only not be mounted."""

WORKER = "worker"
"""Who reads, in the audit trail."""

# As in the index `ix_studies_open`, word for word, so that the databases use it.
_OPEN = text("state IN ('waiting', 'reading')")

# Straight to the table: rows that the session looks after cost several times as much.
_STUDIES = Study.__table__
_SETTLE = update(_STUDIES).where(Study.id == bindparam("study"))
_NO_LEASE = {"lease": None, "lease_until": None}


@dataclass(frozen=True)
class Claim:
    """A study that is ours to read as long as the lease holds."""

    study_id: str
    lease: str
    blob: str
    attempts: int


def any_open(session: Session) -> bool:
    """Whether there is something to claim; a look that locks nothing."""
    return bool(session.scalar(select(exists().where(_OPEN, _claimable(session)))))


def claim(core: Core, most: int) -> list[Claim]:
    """Take up to `most` studies that wait, or whose worker gave no sign for too long, the oldest
    first."""
    with core.database.writing() as session:
        asked = select(Study.id, Study.blob, Study.state, Study.attempts)
        asked = asked.where(_OPEN, _claimable(session)).order_by(Study.id).limit(most)
        rows = session.connection().execute(asked.with_for_update(skip_locked=True)).all()
        rows = _given_up(session, rows)
        if rows and rows[0].attempts >= ALONE_AFTER:
            rows = rows[:1]
        rows = [row for row in rows if row.attempts < ALONE_AFTER] or rows
        lease = secrets.token_hex(16)
        until = now_of(session) + timedelta(seconds=core.settings.lease_seconds)
        for row in rows:
            if row.state != READING:
                changed(session, row.id)
        taken = {"state": READING, "lease": lease, "lease_until": until}
        taken["attempts"] = Study.attempts + 1
        _update(session, [row.id for row in rows], taken)
        return [Claim(row.id, lease, row.blob, row.attempts + 1) for row in rows]


def heartbeat(core: Core, leases: Iterable[str]) -> int:
    """Renew leases; of how many studies."""
    held = list(leases)
    if not held:
        return 0
    with core.database.writing() as session:
        until = now_of(session) + timedelta(seconds=core.settings.lease_seconds)
        ours = select(Study.id).where(Study.lease.in_(held), Study.state == READING)
        # Locked in the order in which all others lock them, so that no two wait for each other.
        ids = list(session.scalars(ours.order_by(Study.id).with_for_update()))
        _update(session, ids, {"lease_until": until})
        return len(ids)


def finish(core: Core, done: Sequence[tuple[Claim, list[Result]]], model: str) -> set[str]:
    """Keep the results of claims whose lease still holds; the ids of these studies.

    model: that read them. All of it, or nothing where it raises.
    """
    results = {claim_.study_id: of_frames for claim_, of_frames in done}
    with core.database.writing() as session:
        ours, moment = _ours(session, [one for one, _ in done]), now_of(session)
        rows, settling = [], []
        for study_id in ours:
            frames = [row_of(study_id, model, result) for result in results[study_id]]
            rows += [{"at": moment} | row for row in frames]
            study = settled(frames)
            settling.append({"study": study_id, "read_at": moment} | study | _NO_LEASE)
            changed(session, study_id)
            audit_trail.record(session, WORKER, f"study.{study['state']}", study_id, model=model)
        if settling:
            session.connection().execute(_SETTLE, settling)
        insert_all_once(session, tables.Reading, rows)
        return set(ours)


def release(
    core: Core, claims: Iterable[Claim], *, seconds: float = 0, tried: bool = False
) -> None:
    """Give studies back unread: to whoever comes, after so many seconds.

    tried: whether it counts as an attempt.
    """
    with core.database.writing() as session:
        ours = _ours(session, list(claims))
        until = now_of(session) + timedelta(seconds=seconds) if seconds else None
        back = {"state": WAITING, "lease": None, "lease_until": until}
        if not tried:
            back["attempts"] = Study.attempts - 1
        _update(session, ours, back)
        for study_id in ours:
            changed(session, study_id)


def read_again(session: Session, study_id: str, *, by: str) -> None:
    """Have a study read again: by another model, or after it failed. Raises NotFound.

    A model's reading of a frame is never made a second time; its failures are.
    """
    study = session.get(Study, study_id, with_for_update=True)
    if study is None:
        raise NotFound("no such study; it may have been deleted")
    if study.state not in (READ, FAILED):
        return
    failures = select(tables.Reading).where(
        tables.Reading.study_id == study_id, tables.Reading.error.is_not(None)
    )
    for row in session.scalars(failures):
        session.delete(row)
    study.state, study.attempts, study.lease, study.lease_until = WAITING, 0, None, None
    study.urgency, study.unlikeliness = URGENCY["waiting"], 0.0
    study.error = study.reason = None
    changed(session, study_id)
    audit_trail.record(session, by, "study.read_again", study_id)


def _claimable(session: Session):
    free = or_(Study.lease_until.is_(None), Study.lease_until < now_of(session))
    return or_(Study.state == WAITING, Study.state == READING) & free


def _ours(session: Session, claims: Sequence[Claim]) -> list[str]:
    """The studies of those claims whose lease still holds, locked in the order of all others."""
    leases = {one.study_id: one.lease for one in claims}
    asked = select(Study.id, Study.lease).where(Study.id.in_(leases), Study.state == READING)
    found = session.connection().execute(asked.order_by(Study.id).with_for_update())
    return [study_id for study_id, lease in found if lease == leases[study_id]]


def _given_up(session: Session, rows: Sequence[Row]) -> list[Row]:
    """The studies without those that ended their workers too often, which have failed."""
    over = [row.id for row in rows if row.attempts >= GIVE_UP_AFTER]
    said = {"error": "reading it broke off too often; read it by eye", "reason": "gave_up"}
    failed = {"state": FAILED, "urgency": URGENCY["failed"], "lease": None}
    _update(session, over, failed | said | {"read_at": now_of(session)})
    for study_id in over:
        changed(session, study_id)
        audit_trail.record(session, WORKER, "study.failed", study_id, reason="gave_up")
    return [row for row in rows if row.id not in over]


def _update(session: Session, ids: Sequence[str], values: dict) -> None:
    if ids:
        session.connection().execute(update(_STUDIES).where(Study.id.in_(ids)).values(values))
