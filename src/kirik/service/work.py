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

from sqlalchemy import exists, or_, select, text, update
from sqlalchemy.orm import Session

from kirik.service import audit_trail, tables
from kirik.service.core import Core
from kirik.service.engine import changed, insert_all_once, now_of
from kirik.service.refusals import NotFound
from kirik.service.results import Result, row_of, settle
from kirik.service.tables import FAILED, READ, READING, URGENCY, WAITING, Study

ALONE_AFTER, GIVE_UP_AFTER = 2, 8
"""A study that was taken up so often without an end may be what kills its worker: from then on it
is claimed by itself, and at last given up."""

WORKER = "worker"
"""Who reads, in the audit trail."""

# As in the index `ix_studies_open`, word for word, so that the databases use it.
_OPEN = text("state IN ('waiting', 'reading')")


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
        asked = select(Study).where(_OPEN, _claimable(session)).order_by(Study.id).limit(most)
        studies = list(session.scalars(asked.with_for_update(skip_locked=True)))
        studies = _given_up(session, studies)
        if studies and studies[0].attempts >= ALONE_AFTER:
            studies = studies[:1]
        studies = [s for s in studies if s.attempts < ALONE_AFTER] or studies
        lease = secrets.token_hex(16)
        until = now_of(session) + timedelta(seconds=core.settings.lease_seconds)
        for study in studies:
            if study.state != READING:
                changed(session, study.id)
            study.state, study.lease, study.lease_until = READING, lease, until
            study.attempts += 1
        return [Claim(s.id, lease, s.blob, s.attempts) for s in studies]


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
        renew = update(Study).where(Study.id.in_(ids)).values(lease_until=until)
        session.execute(renew, execution_options={"synchronize_session": False})
        return len(ids)


def finish(core: Core, done: Sequence[tuple[Claim, list[Result]]], model: str) -> set[str]:
    """Keep the results of claims whose lease still holds; the ids of these studies.

    model: that read them. All of it, or nothing where it raises.
    """
    results = {claim_.study_id: of_frames for claim_, of_frames in done}
    with core.database.writing() as session:
        studies, moment, rows = _ours(session, (one for one, _ in done)), now_of(session), []
        for study in studies:
            frames = [row_of(study.id, model, result) for result in results[study.id]]
            rows += [{"at": moment} | row for row in frames]
            settle(study, frames)
            study.read_at, study.lease, study.lease_until = moment, None, None
            changed(session, study.id)
            audit_trail.record(session, WORKER, f"study.{study.state}", study.id, model=model)
        insert_all_once(session, tables.Reading, rows)
        return {study.id for study in studies}


def release(
    core: Core, claims: Iterable[Claim], *, seconds: float = 0, tried: bool = False
) -> None:
    """Give studies back unread: to whoever comes, after so many seconds.

    tried: whether it counts as an attempt.
    """
    with core.database.writing() as session:
        for study in _ours(session, claims):
            study.state, study.lease = WAITING, None
            study.lease_until = now_of(session) + timedelta(seconds=seconds) if seconds else None
            study.attempts -= 0 if tried else 1
            changed(session, study.id)


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
    changed(session, study_id)
    audit_trail.record(session, by, "study.read_again", study_id)


def _claimable(session: Session):
    free = or_(Study.lease_until.is_(None), Study.lease_until < now_of(session))
    return or_(Study.state == WAITING, Study.state == READING) & free


def _ours(session: Session, claims: Iterable[Claim]) -> list[Study]:
    """The studies of those claims whose lease still holds, locked in the order of all others."""
    leases = {one.study_id: one.lease for one in claims}
    asked = select(Study).where(Study.id.in_(leases), Study.state == READING)
    found = session.scalars(asked.order_by(Study.id).with_for_update())
    return [study for study in found if study.lease == leases[study.id]]


def _given_up(session: Session, studies: list[Study]) -> list[Study]:
    """The studies without those that ended their workers too often, which have failed."""
    for study in studies:
        if study.attempts >= GIVE_UP_AFTER:
            study.state, study.urgency, study.lease = FAILED, URGENCY["failed"], None
            study.error, study.reason = "reading it broke off too often; read it by eye", "gave_up"
            study.read_at = now_of(session)
            changed(session, study.id)
            audit_trail.record(session, WORKER, "study.failed", study.id, reason="gave_up")
    return [study for study in studies if study.state != FAILED]
