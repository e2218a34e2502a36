"""How far people agree with the readings: over time, by region, and where they overruled them."""

from collections import Counter
from dataclasses import dataclass
from datetime import date, timedelta

from sqlalchemy.orm import Session

from kirik.service.access import Principal
from kirik.service.reviews import judged
from kirik.service.tables import Reading, Review, Study

OVERRULED = 100
"""So many of the newest are given."""


@dataclass(frozen=True)
class Agreement:
    """Counts are of the newest review of each frame.

    by_week: Monday → (agreed, disagreed), in order. by_region: the same, most reviewed first; None
    where no region is known. overruled: the newest first.
    missed: read as no fracture, reviewed as one. false_alarms: the other way round.
    """

    by_week: dict[date, tuple[int, int]]
    by_region: dict[str | None, tuple[int, int]]
    overruled: list[tuple[Study, Review]]
    agreed: int
    disagreed: int
    missed: int
    false_alarms: int


def agreement(session: Session, principal: Principal) -> Agreement:
    """Of all reviews that a principal may see."""
    columns = (Review.at, Review.agrees, Review.decision, Study.region, Reading.decision)
    rows = session.execute(judged(principal).with_only_columns(*columns)).all()
    weeks, regions, kinds = Counter(), Counter(), Counter()
    for at, agrees, said, region, read in rows:
        monday = at.date() - timedelta(days=at.weekday())
        weeks[monday, agrees] += 1
        regions[region, agrees] += 1
        kinds[said, read] += 1
    overruled = (
        judged(principal)
        .with_only_columns(Study, Review)
        .where(Review.agrees.is_(False))
        .order_by(Review.number.desc())
        .limit(OVERRULED)
    )
    by_region = _pairs(regions)
    most_first = sorted(by_region, key=lambda name: (-sum(by_region[name]), name or ""))
    agreed = sum(1 for row in rows if row.agrees)
    return Agreement(
        by_week=dict(sorted(_pairs(weeks).items())),
        by_region={name: by_region[name] for name in most_first},
        overruled=[tuple(row) for row in session.execute(overruled)],
        agreed=agreed,
        disagreed=len(rows) - agreed,
        missed=kinds["fracture", "no_fracture"],
        false_alarms=kinds["no_fracture", "fracture"],
    )


def _pairs(counts: Counter) -> dict:
    """(name, agrees) → count as name → (agreed, disagreed)."""
    return {name: (counts[name, True], counts[name, False]) for name, _ in counts}
