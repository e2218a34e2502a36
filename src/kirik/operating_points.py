"""Two operating points turn a probability into a decision: fracture, uncertain or no fracture.

They are chosen once, on validation radiographs, and travel with the model; reading only decides.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Literal

import numpy as np

from kirik.errors import DataSetError

Decision = Literal["fracture", "uncertain", "no_fracture"]
DECISIONS: tuple[Decision, ...] = ("fracture", "uncertain", "no_fracture")
OUT_OF_SCOPE = "out_of_scope"
"""Decided before any probability: what the model was never shown the like of."""


@dataclass(frozen=True)
class OperatingPoints:
    """Below `low`: no fracture. At or above `high`: fracture. Between: a person must decide.

    sensitivity: share of fractured radiographs at or above `low` where the points were chosen.
    specificity: share of the others below `high` there.
    uncertain: share of all radiographs between the points there.
    wanted_sensitivity, wanted_specificity: what was asked for.
    fractured, not_fractured: how many radiographs the points were chosen on.
    """

    low: float
    high: float
    sensitivity: float | None = None
    specificity: float | None = None
    uncertain: float | None = None
    wanted_sensitivity: float | None = None
    wanted_specificity: float | None = None
    fractured: int | None = None
    not_fractured: int | None = None

    def __post_init__(self):
        if not 0 <= self.low <= self.high <= 1:
            raise DataSetError(
                f"operating points low={self.low}, high={self.high}: expected 0 ≤ low ≤ high ≤ 1"
            )

    def to_dict(self) -> dict[str, float | int | None]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping) -> "OperatingPoints":
        """The inverse of `to_dict`; names it does not know are left aside."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in known})


@dataclass(frozen=True)
class CrossFitted:
    """Operating points of each radiograph's own, chosen on the folds that it is not in.

    low, high: float [n].
    """

    low: np.ndarray
    high: np.ndarray


def choose_operating_points(
    labels_fractured: np.ndarray,
    probability: np.ndarray,
    *,
    sensitivity: float = 0.95,
    specificity: float = 0.95,
) -> OperatingPoints:
    """The narrowest band of uncertainty that keeps both promises on these radiographs.

    labels_fractured: bool [n]. probability: of a fracture, [n].
    `low` is the highest threshold at or above which at least `sensitivity` of the fractured lie,
    `high` the lowest below which at least `specificity` of the others lie; where the classes
    separate so well that low would pass high, both are the middle. Thresholds stand halfway
    between neighbouring probabilities, so that rounding does not move a radiograph across.
    Raises DataSetError unless both classes are there.
    """
    fractured, probability = np.asarray(labels_fractured, bool), np.asarray(probability, float)
    positive, negative = probability[fractured], probability[~fractured]
    if not len(positive) or not len(negative):
        raise DataSetError(
            f"operating points need radiographs of both kinds; there are {len(positive)} fractured"
            f" and {len(negative)} others: choose them on a larger part"
        )
    cuts = _cuts(probability)
    kept = 1 - np.searchsorted(np.sort(positive), cuts) / len(positive)
    cleared = np.searchsorted(np.sort(negative), cuts) / len(negative)
    # 1e-9: 19 of 20 must count as 0.95 whatever the rounding of the quotient.
    low = cuts[np.flatnonzero(kept >= sensitivity - 1e-9)[-1]]
    enough = np.flatnonzero(cleared >= specificity - 1e-9)
    high = cuts[enough[0]] if len(enough) else cuts[-1]
    if low > high:
        low = high = (low + high) / 2
    between = (probability >= low) & (probability < high)
    return OperatingPoints(
        float(low),
        float(high),
        sensitivity=float(np.mean(positive >= low)),
        specificity=float(np.mean(negative < high)),
        uncertain=float(np.mean(between)),
        wanted_sensitivity=sensitivity,
        wanted_specificity=specificity,
        fractured=len(positive),
        not_fractured=len(negative),
    )


def decide(probability: float, points: OperatingPoints) -> Decision:
    """The decision for one radiograph's probability of a fracture."""
    if probability >= points.high:
        return "fracture"
    if probability < points.low:
        return "no_fracture"
    return "uncertain"


def _cuts(probability: np.ndarray) -> np.ndarray:
    """0, the middle between each two neighbouring probabilities, and the middle to 1; ascending."""
    values = np.unique(probability)
    return np.concatenate([[0.0], (values + np.append(values[1:], 1.0)) / 2])
