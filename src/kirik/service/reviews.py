"""What people say of readings: kept with who and when, never changed; the newest of each counts."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from kirik.service import audit_trail
from kirik.service.access import Principal, require, study_for, visible
from kirik.service.engine import changed, now_of
from kirik.service.refusals import Conflict, Invalid, NotFound
from kirik.service.tables import Reading, Review, Study

OPINIONS = ("fracture", "no_fracture", "unsure")
_SURE = {"fracture", "no_fracture"}
_MARGIN = 1.0
"""Pixels that a box may pass the border by: it is drawn by hand, and rounded."""


@dataclass(frozen=True)
class Opinion:
    """What a person says of a frame.

    decision: may be None where the person agrees, and is the reading's then.
    boxes: fractures as (x, y, width, height) in pixels as stored.
    """

    agrees: bool
    decision: str | None = None
    boxes: Sequence[tuple[float, float, float, float]] = ()
    comment: str = ""


def add(
    session: Session, principal: Principal, study_id: str, frame: int, opinion: Opinion
) -> Review:
    """Keep a review. Raises NotAllowed, NotFound, Conflict where nothing was read yet, and Invalid
    for one that contradicts itself."""
    require(principal, "reviewer")
    # Locked, or of two frames' reviews at once neither would count the other.
    session.get(Study, study_id, with_for_update=True)
    study = study_for(session, principal, study_id)
    reading = _reading(session, study, frame)
    decision = _decision(opinion, reading)
    _check_boxes(opinion, decision, reading)
    sides = ("x", "y", "width", "height")
    review = Review(
        study_id=study.id,
        frame=frame,
        model=reading.model,
        agrees=opinion.agrees,
        decision=decision,
        boxes=[dict(zip(sides, box, strict=True)) for box in opinion.boxes],
        comment=opinion.comment.strip(),
        by=principal.name,
        at=now_of(session),
    )
    session.add(review)
    session.flush()
    of_frames = select(func.max(Review.number)).where(Review.study_id == study.id)
    last = of_frames.group_by(Review.frame)
    agreed = session.scalars(select(Review.agrees).where(Review.number.in_(last)))
    study.reviewed = "agreed" if all(agreed) else "disagreed"
    changed(session, study.id)
    details = {"frame": frame, "agrees": opinion.agrees, "decision": decision}
    audit_trail.record(session, principal.name, "review.added", study.id, **details)
    return review


def judged(principal: Principal) -> Select:
    """The newest review of each frame that a principal may see, with its study and reading; of a
    reading that is kept no more, None."""
    last = select(func.max(Review.number)).group_by(Review.study_id, Review.frame)
    return (
        select(Review, Study, Reading)
        .join(Study, Study.id == Review.study_id)
        .outerjoin(
            Reading,
            (Reading.study_id == Review.study_id)
            & (Reading.frame == Review.frame)
            & (Reading.model == Review.model),
        )
        .where(Review.number.in_(last), visible(principal))
    )


def _reading(session: Session, study: Study, frame: int) -> Reading:
    if study.model is None:
        raise Conflict("the study has not been read yet; wait for its reading", "not_read_yet")
    asked = select(Reading).where(
        Reading.study_id == study.id, Reading.frame == frame, Reading.model == study.model
    )
    reading = session.scalar(asked)
    if reading is None:
        raise NotFound(f"the study has no frame {frame}")
    return reading


def _decision(opinion: Opinion, reading: Reading) -> str:
    """The person's decision. Raises Invalid where it is not told, or agrees with the opposite."""
    if opinion.agrees and reading.decision is None:
        raise Invalid("the file could not be read: there is nothing to agree with")
    said = reading.decision if reading.decision in _SURE else "unsure"
    if opinion.decision is None:
        if not opinion.agrees:
            raise Invalid("say what it is: fracture, no_fracture or unsure")
        return said
    if opinion.decision not in OPINIONS:
        raise Invalid(f"decision {opinion.decision!r}: give {', '.join(OPINIONS)}")
    if opinion.agrees and reading.decision in _SURE and opinion.decision != reading.decision:
        raise Invalid(f"agrees with a reading of {reading.decision}, but says {opinion.decision}")
    return opinion.decision


def _check_boxes(opinion: Opinion, decision: str, reading: Reading) -> None:
    if opinion.boxes and decision == "no_fracture":
        what = "boxes around fractures, but no fracture; remove the boxes"
        raise Invalid(what, "boxes_without_fracture")
    if reading.width is None or reading.height is None:
        return
    for x, y, width, height in opinion.boxes:
        inside = min(x, y) >= -_MARGIN and x + width <= reading.width + _MARGIN
        if not inside or y + height > reading.height + _MARGIN:
            size = f"{reading.width}×{reading.height}"
            what = f"a box reaches outside the radiograph of {size} pixels"
            raise Invalid(what, "box_outside")
