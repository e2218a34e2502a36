"""ROC and precision-recall curves with their band of uncertainty over groups, ready to be drawn."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kirik.evaluation.bootstrap import LEVEL, group_weights, has_all_classes
from kirik.evaluation.ranking import Curve, Ranking

GRID = np.linspace(0, 1, 101)
BAND_REPLICATES = 500


@dataclass(frozen=True)
class Line:
    """A curve to draw: its points, and its 95 % band over the places of GRID (or None).

    The band is pointwise: of each replicate's height at each place, the middle 95 %.
    """

    x: np.ndarray
    y: np.ndarray
    area: float
    low: np.ndarray | None = None
    high: np.ndarray | None = None


def roc_line(
    positive: np.ndarray, score: np.ndarray, groups: Sequence[str] | None = None, *, seed: int = 0
) -> Line:
    """Sensitivity over 1 − specificity; with a band where groups are given. Needs both classes."""
    ranking = Ranking(positive, score)
    curve = ranking.curve(np.ones((1, len(score))))
    band = _band(ranking, positive, groups, seed, _roc_heights)
    x, y = curve.false_alarm_rate[0], curve.sensitivity[0]
    return Line(x, y, float(curve.auroc()[0]), *band)


def pr_line(
    positive: np.ndarray, score: np.ndarray, groups: Sequence[str] | None = None, *, seed: int = 0
) -> Line:
    """Precision over recall; with a band where groups are given. Needs both classes."""
    ranking = Ranking(positive, score)
    curve = ranking.curve(np.ones((1, len(score))))
    band = _band(ranking, positive, groups, seed, _pr_heights)
    x, y = curve.sensitivity[0, 1:], curve.precision[0, 1:]
    return Line(np.append(0, x), np.append(y[0], y), float(curve.auprc()[0]), *band)


def _band(ranking: Ranking, positive: np.ndarray, groups, seed: int, heights) -> tuple:
    if groups is None or len(set(groups)) < 2:
        return None, None
    drawn = []
    for weights in group_weights(groups, BAND_REPLICATES, seed):
        kept = weights[has_all_classes(weights, positive)]
        drawn.append(heights(ranking.curve(kept)))
    ends = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    return tuple(np.quantile(np.concatenate(drawn), ends, axis=0))


def _roc_heights(curve: Curve) -> np.ndarray:
    """[replicates, GRID]: the highest sensitivity at each false alarm rate."""
    rows = zip(curve.false_alarm_rate, curve.sensitivity, strict=True)
    return np.array([y[np.searchsorted(x, GRID + 1e-12, side="right") - 1] for x, y in rows])


def _pr_heights(curve: Curve) -> np.ndarray:
    """[replicates, GRID]: the precision where each recall (any above 0, at 0) is first reached."""
    rows = zip(curve.sensitivity[:, 1:], curve.precision[:, 1:], strict=True)
    wanted = np.maximum(GRID, 1e-9) - 1e-12
    return np.array([y[np.searchsorted(x, wanted)] for x, y in rows])
