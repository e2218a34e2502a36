"""Rows as the API shows them, to those who may see them."""

from collections.abc import Iterable, Sequence

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from kirik.service import access
from kirik.service.access import Principal
from kirik.service.api import schemas
from kirik.service.tables import Reading, Review, Study

_PLAIN = (
    *("id", "name", "sha256", "size", "kind", "state", "decision", "probability", "region"),
    *("frames", "error", "reason", "warnings", "received_at", "read_at", "model", "exam"),
    "reviewed",
)


def studies(
    session: Session, principal: Principal, rows: Sequence[Study | Row]
) -> list[schemas.Study]:
    """Studies of the work list."""
    speaking = _speaking(session, rows)
    return [schemas.Study(**_study(row, principal, speaking.get(row.id))) for row in rows]


def whole(session: Session, principal: Principal, row: Study) -> schemas.StudyWhole:
    """A study with the readings by its model, and all reviews."""
    found = session.execute(
        select(Reading, Reading.evidence.is_not(None))
        .where(Reading.study_id == row.id, Reading.model == row.model)
        .order_by(Reading.frame)
    )
    reviews = session.scalars(
        select(Review).where(Review.study_id == row.id).order_by(Review.number)
    )
    return schemas.StudyWhole(
        **_study(row, principal, _speaking(session, [row]).get(row.id)),
        readings=[reading(one, has_map) for one, has_map in found],
        reviews=[review(one) for one in reviews],
    )


def reading(row: Reading, has_map: bool) -> schemas.Reading:
    """A frame's reading."""
    names = ("frame", "decision", "probability", "probabilities", "model", "attributes")
    names += ("findings", "peak", "warnings", "width", "height", "orientation", "error", "reason")
    said = {name: getattr(row, name) for name in names}
    return schemas.Reading(**said, points=_pair(row.low, row.high), evidence=has_map)


def review(row: Review) -> schemas.Review:
    """A review."""
    names = ("frame", "agrees", "decision", "boxes", "comment", "by", "at", "model")
    return schemas.Review(id=row.number, **{name: getattr(row, name) for name in names})


def _study(row: Study | Row, principal: Principal, speaking: tuple | None) -> dict:
    frame, points = speaking or (1, None)
    said = {name: getattr(row, name) for name in _PLAIN} | {"frame": frame, "points": points}
    if access.sees_patients(principal) and (row.patient_name or row.patient_id):
        said["patient"] = schemas.Patient(name=row.patient_name, id=row.patient_id)
    return said


def _speaking(session: Session, rows: Iterable[Study | Row]) -> dict[str, tuple]:
    """By study: the frame that speaks for it, the first of those with its decision and probability,
    and the operating points of that frame's reading."""
    told = {row.id: (row.model, row.decision, row.probability) for row in rows if row.decision}
    if not told:
        return {}
    same = (Reading.model, Reading.decision, Reading.probability)
    asked = select(Reading.study_id, Reading.frame, Reading.low, Reading.high, *same)
    found = session.execute(asked.where(Reading.study_id.in_(told)).order_by(Reading.frame.desc()))
    return {
        study: (frame, _pair(low, high))
        for study, frame, low, high, *of_frame in found
        if told[study] == tuple(of_frame)
    }


def _pair(low: float | None, high: float | None) -> schemas.Points | None:
    return None if low is None or high is None else schemas.Points(low=low, high=high)
