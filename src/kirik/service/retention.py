"""How long studies are kept, and what of the disk they take."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from kirik.service import audit_trail, limits, sessions
from kirik.service.core import Core
from kirik.service.engine import changed, insert_once, lock_blobs, now_of
from kirik.service.refusals import Invalid, NotFound
from kirik.service.settings import ServiceSettings
from kirik.service.tables import FAILED, READ, Change, Counter, Option, Study, Worker

_OPTION, _NOTED, _BATCH, _CHANGES = "retention_days", "retention_noted", 200, 50_000
_ORPHAN_HOURS, _WORKER_DAYS = 1, 1
_SIGNS = 3
"""Leases after which a worker's word does not count any more; it gives one thrice in each."""


@dataclass(frozen=True)
class Storage:
    """studies: how many; bytes: of their files. oldest: received then; None without any."""

    studies: int
    bytes: int
    free_bytes: int
    oldest: datetime | None
    retention_days: int | None


@dataclass(frozen=True)
class Swept:
    """What a sweep deleted: studies whose time was over, files without a study."""

    studies: int
    files: int


def storage(core: Core) -> Storage:
    """What there is at the moment."""
    with core.database.reading() as session:
        asked = select(
            func.count(), func.coalesce(func.sum(Study.size), 0), func.min(Study.received_at)
        )
        studies, size, oldest = session.execute(asked.select_from(Study)).one()
        kept = days(session, core.settings)
    return Storage(studies, int(size), core.blobs.free(), oldest, kept)


def days(session: Session, settings: ServiceSettings) -> int | None:
    """Days that studies are kept; None for ever.

    An administrator's choice, else the settings', else what a worker that is alive was told.
    """
    option = session.get(Option, _OPTION)
    if option is not None:
        return option.value["days"]
    return settings.retention_days or _noted(session)


def note(session: Session, settings: ServiceSettings) -> None:
    """Have servers and other workers know what this worker deletes by, until its next sign of
    life is overdue."""
    if settings.retention_days is None:
        return
    until = now_of(session) + timedelta(seconds=_SIGNS * settings.lease_seconds)
    insert_once(session, Option, name=_NOTED, value={})
    option = session.get(Option, _NOTED, with_for_update=True, populate_existing=True)
    option.value = {"days": settings.retention_days, "until": until.timestamp()}


def _noted(session: Session) -> int | None:
    option = session.get(Option, _NOTED)
    if option is None or now_of(session).timestamp() > option.value["until"]:
        return None
    return option.value["days"]


def set_days(session: Session, days: int | None, *, by: str) -> None:
    """An administrator's choice, in place of the settings'. Raises Invalid."""
    if days is not None and not 1 <= days <= 36_500:
        raise Invalid("give 1 to 36500 days, or none to keep all", "days")
    insert_once(session, Option, name=_OPTION, value={})
    option = session.get(Option, _OPTION, with_for_update=True, populate_existing=True)
    option.value = {"days": days}
    audit_trail.record(session, by, "storage.changed", "", retention_days=days)


def delete_study(core: Core, study_id: str, *, by: str, why: str = "asked") -> None:
    """Delete a study, its readings and reviews, and its file. Raises NotFound."""
    with core.database.writing() as session:
        study = session.get(Study, study_id, with_for_update=True)
        if study is None:
            raise NotFound("no such study; it may have been deleted")
        _delete(session, study, by, why)
    remove_orphans(core, [study.blob])


def sweep(core: Core, *, orphan_hours: float = _ORPHAN_HOURS) -> Swept:
    """Delete the studies whose time is over, and all else that nobody needs any more."""
    gone = _delete_old(core)
    with core.database.writing() as session:
        limits.forget(session)
        sessions.forget(session, core.settings)
        last = session.get(Counter, "changes").value
        session.execute(delete(Change).where(Change.number <= last - _CHANGES))
        silent = now_of(session) - timedelta(days=_WORKER_DAYS)
        session.execute(delete(Worker).where(Worker.seen_at < silent))
    return Swept(gone, remove_orphans(core, list(core.blobs.stale(orphan_hours))))


def remove_orphans(core: Core, blobs: list[str]) -> int:
    """Delete those of these files that belong to no study; how many.

    The lock, which intake takes too, keeps one from being taken in again in between.
    """
    removed = 0
    for start in range(0, len(blobs), _BATCH):
        some = blobs[start : start + _BATCH]
        with core.database.writing() as session:
            lock_blobs(session, some)
            used = set(session.scalars(select(Study.blob).where(Study.blob.in_(some))))
            for blob in set(some) - used:
                core.blobs.remove(blob)
                removed += 1
    return removed


def _delete_old(core: Core) -> int:
    gone = 0
    while True:
        with core.database.writing() as session:
            kept = days(session, core.settings)
            if kept is None:
                return gone
            before = now_of(session) - timedelta(days=kept)
            old = select(Study).where(Study.received_at < before, Study.state.in_((READ, FAILED)))
            studies = list(session.scalars(old.order_by(Study.id).limit(_BATCH).with_for_update()))
            for study in studies:
                _delete(session, study, "retention", "its time was over")
        if not studies:
            return gone
        gone += len(studies)
        remove_orphans(core, [study.blob for study in studies])


def _delete(session: Session, study: Study, by: str, why: str) -> None:
    # By a statement: the database deletes what belongs to it.
    session.execute(delete(Study).where(Study.id == study.id))
    changed(session, study.id)
    audit_trail.record(session, by, "study.deleted", study.id, why=why, sha256=study.sha256)
