"""The work list: studies in the order of urgency, filtered, searched, a page at a time.

A page begins after the last study of the one before it (keyset paging), so that the thousandth
costs no more than the first, and none is shown twice or left out because others came in between.
"""

import base64
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Row, Select, func, or_, select, tuple_
from sqlalchemy.orm import Session

from kirik.service.access import Principal, visible
from kirik.service.refusals import Invalid
from kirik.service.tables import STATES, URGENCY, Change, Counter, Study
from kirik.service.words import contains, searchable

MOST = 200
"""Studies of a page."""

_NAMES = {rank: name for name, rank in URGENCY.items()}
_STUDIES = Study.__table__
_KEY = (Study.urgency, Study.unlikeliness, Study.id)
_ID = re.compile(r"[0-9a-f]{28}")
_REVIEWED = ("yes", "no", "agreed", "disagreed")


@dataclass(frozen=True)
class Filters:
    """Which studies are asked for; all where nothing is said.

    decision: a key of `URGENCY`, or a class's name of the model. state: see `STATES`.
    reviewed: yes, no, agreed or disagreed. q: part of a name, of a patient's name or id, of a hash
    or an exam, each word somewhere. since: received then or later; UTC where it says no zone.
    """

    decision: str | None = None
    state: str | None = None
    region: str | None = None
    reviewed: str | None = None
    q: str | None = None
    since: datetime | None = None


@dataclass(frozen=True)
class Page:
    """Some studies, rows with a study's columns, and what to ask for those after them; None where
    there are none."""

    studies: list[Row]
    next: str | None


def page(
    session: Session,
    principal: Principal,
    filters: Filters,
    cursor: str | None = None,
    limit: int = 50,
) -> Page:
    """The next studies that the principal may see. Raises Invalid for a filter or a cursor that is
    none."""
    limit = max(1, min(limit, MOST))
    asked = _filtered(select(_STUDIES), principal, filters)
    if filters.decision in URGENCY:
        asked = asked.where(Study.urgency == URGENCY[filters.decision])
    elif filters.decision:
        asked = asked.where(Study.decision == filters.decision)
    if filters.state:
        asked = asked.where(Study.state == filters.state)
    if cursor:
        asked = asked.where(tuple_(*_KEY) > tuple_(*_after(cursor)))
    found = _rows(session, asked.order_by(*_KEY).limit(limit + 1))
    more = len(found) > limit
    return Page(found[:limit], _cursor(found[limit - 1]) if more else None)


def counts(session: Session, principal: Principal, filters: Filters) -> dict[str, int]:
    """How many there are of each kind of `URGENCY`; the filters' decision and state are left
    aside."""
    asked = _filtered(select(Study.urgency, func.count()), principal, filters)
    found = {_NAMES[rank]: count for rank, count in session.execute(asked.group_by(Study.urgency))}
    return {name: found.get(name, 0) for name in URGENCY}


def by_ids(session: Session, principal: Principal, ids: Iterable[str]) -> list[Row]:
    """Those of these studies that there are and that the principal may see, in this order: rows
    with a study's columns."""
    ids = list(ids)
    found = _rows(session, select(_STUDIES).where(Study.id.in_(ids), visible(principal)))
    known = {study.id: study for study in found}
    return [known[one] for one in ids if one in known]


def existing(session: Session, ids: Iterable[str]) -> set[str]:
    """Those of these studies that there are, whoever may see them."""
    return set(session.scalars(select(Study.id).where(Study.id.in_(list(ids)))))


def regions(session: Session, principal: Principal) -> list[str]:
    """The regions that there are."""
    asked = select(Study.region).where(Study.region.is_not(None), visible(principal)).distinct()
    return sorted(session.scalars(asked))


def last_change(session: Session) -> int:
    """The number of the newest change of any study; changes from then on have greater ones."""
    return session.scalar(select(Counter.value).where(Counter.name == "changes")) or 0


def changes_after(session: Session, number: int, limit: int = 500) -> list[tuple[int, str]]:
    """(number, study's id) of the changes after a number, in order. A study that is not there any
    more was deleted."""
    asked = select(Change.number, Change.study_id).where(Change.number > number)
    rows = session.execute(asked.order_by(Change.number).limit(limit))
    return [(number, study_id) for number, study_id in rows]


def _rows(session: Session, asked: Select) -> list[Row]:
    """Rows that the session does not look after: they are only shown."""
    return list(session.connection().execute(asked))


def _filtered(asked: Select, principal: Principal, filters: Filters) -> Select:
    _check(filters)
    asked = asked.where(visible(principal))
    if filters.region:
        asked = asked.where(Study.region == filters.region)
    if filters.since:
        asked = asked.where(Study.received_at >= _in_utc(filters.since))
    if filters.reviewed in ("yes", "no"):
        known = Study.reviewed.is_not(None) if filters.reviewed == "yes" else None
        asked = asked.where(Study.reviewed.is_(None) if known is None else known)
    elif filters.reviewed:
        asked = asked.where(Study.reviewed == filters.reviewed)
    for word in dict.fromkeys(searchable(filters.q or "").split()):
        asked = asked.where(_found(word, principal))
    return asked


def _found(word: str, principal: Principal):
    pattern = contains(word)
    places = [Study.words.like(pattern, escape="\\"), Study.id == word, Study.exam == word]
    if len(word) >= 8:
        places.append(Study.sha256.like(f"{pattern[1:]}", escape="\\"))
    if principal.patients:  # or one could find out names by guessing
        places.append(Study.patient_words.like(pattern, escape="\\"))
    return or_(*places)


def _check(filters: Filters) -> None:
    if filters.state and filters.state not in STATES:
        raise Invalid(f"state {filters.state!r}: give {', '.join(STATES)}")
    if filters.reviewed and filters.reviewed not in _REVIEWED:
        raise Invalid(f"reviewed {filters.reviewed!r}: give {', '.join(_REVIEWED)}")
    try:
        if filters.since:
            _in_utc(filters.since)
    except (OverflowError, ValueError) as error:  # UTC's first and last day are not the world's
        what = f"since {filters.since}: give a moment between the years 2 and 9998"
        raise Invalid(what) from error


def _in_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _cursor(study: Row) -> str:
    place = json.dumps([study.urgency, study.unlikeliness, study.id])
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def _after(cursor: str) -> tuple[int, float, str]:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        urgency, unlikeliness, study_id = json.loads(text)
        if not _ID.fullmatch(study_id) or not (0 <= urgency < 100 and -1 <= unlikeliness <= 1):
            raise ValueError("no place in the list")
        return int(urgency), float(unlikeliness), study_id
    except (ValueError, TypeError) as error:
        raise Invalid("a cursor that is none; begin at the first page") from error
