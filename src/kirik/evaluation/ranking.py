"""ROC and precision-recall from scores sorted once, for any number of weightings of the rows.

A weighting counts each radiograph as often as a bootstrap replicate drew it; the curves of all
replicates then cost two cumulative sums. Ties count as in scikit-learn: equal scores are one step.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Quotient, NaN where the denominator is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(denominator == 0, np.nan, numerator / denominator)


class Ranking:
    """Radiographs from the most to the least suspicious.

    positive: bool [n]. score: float [n], higher means positive.
    """

    def __init__(self, positive: np.ndarray, score: np.ndarray):
        self._order = np.argsort(-score, kind="stable")
        self._positive = positive[self._order]
        ranked = score[self._order]
        self._ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
        self.thresholds = ranked[self._ends]

    def curve(self, weights: np.ndarray) -> "Curve":
        """The curve of each weighting, float64 [replicates, n]."""
        ranked = weights[:, self._order]
        flagged = np.cumsum(ranked, axis=1)[:, self._ends]
        hits = np.cumsum(ranked * self._positive, axis=1)[:, self._ends]
        start = np.zeros((len(weights), 1))
        hits, flagged = np.hstack([start, hits]), np.hstack([start, flagged])
        return Curve(hits, flagged - hits)


@dataclass(frozen=True)
class Curve:
    """True and false positives at each threshold, from the highest down: [replicates, steps]."""

    hits: np.ndarray
    alarms: np.ndarray

    @cached_property
    def positives(self) -> np.ndarray:
        return self.hits[:, -1]

    @cached_property
    def negatives(self) -> np.ndarray:
        return self.alarms[:, -1]

    @cached_property
    def sensitivity(self) -> np.ndarray:
        """[replicates, steps]; also the recall."""
        return ratio(self.hits, self.positives[:, None])

    @cached_property
    def false_alarm_rate(self) -> np.ndarray:
        """[replicates, steps]: 1 − specificity."""
        return ratio(self.alarms, self.negatives[:, None])

    @cached_property
    def precision(self) -> np.ndarray:
        """[replicates, steps]; NaN before the first radiograph."""
        return ratio(self.hits, self.hits + self.alarms)

    def auroc(self) -> np.ndarray:
        """Area under the ROC curve by trapezoids, which is the Mann-Whitney probability."""
        heights = self.hits[:, 1:] + self.hits[:, :-1]
        area = np.sum(np.diff(self.alarms, axis=1) * heights, axis=1) / 2
        return ratio(area, self.positives * self.negatives)

    def auprc(self) -> np.ndarray:
        """Average precision: precision weighted by the steps of recall, without interpolation."""
        steps = np.diff(self.hits, axis=1)
        area = np.sum(steps * np.nan_to_num(self.precision[:, 1:]), axis=1)
        return np.where(self.negatives == 0, np.nan, ratio(area, self.positives))

    def sensitivity_at(self, specificity: float) -> np.ndarray:
        """The highest sensitivity at any threshold that keeps this specificity."""
        allowed = self.alarms <= ((1 - specificity) * self.negatives)[:, None] + 1e-9
        best = np.max(np.where(allowed, self.hits, 0), axis=1)
        return np.where(self.negatives == 0, np.nan, ratio(best, self.positives))

    def specificity_at(self, sensitivity: float) -> np.ndarray:
        """The highest specificity at any threshold that keeps this sensitivity."""
        enough = self.hits >= (sensitivity * self.positives)[:, None] - 1e-9
        fewest = np.min(np.where(enough, self.alarms, np.inf), axis=1)
        return np.where(self.positives == 0, np.nan, ratio(self.negatives - fewest, self.negatives))
