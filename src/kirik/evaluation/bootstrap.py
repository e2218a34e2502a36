"""Confidence intervals by bootstrap over groups: radiographs of one patient do not count as many.

Whole groups are drawn with replacement (Field & Welsh, J. R. Stat. Soc. B 69, 369–390, 2007), and
the interval is the percentile interval (Efron & Tibshirani, An Introduction to the Bootstrap,
1993).
A replicate is a row of weights: how often each radiograph was drawn. Measures that take weights
need no copying of rows, so that thousands of replicates take seconds.

Where every replicate gives the same value, as where all fractures were found, resampling knows
nothing of what it did not see: an interval of no width would be a false certainty. A proportion
then has the exact interval of Clopper & Pearson (Biometrika 26, 404–413, 1934), others none.

A measure that chance alone makes larger, as a mean of absolute gaps, is larger still in a
replicate, which has that chance twice. Its replicates are moved by their bias, the difference of
their mean to the measure (Efron & Tibshirani, chapter 10), before the interval is read off.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from scipy.stats import beta

LEVEL = 0.95
FEW_GROUPS = 10
"""With fewer there is too little to draw from: intervals are too narrow."""
BLOCK = 200
"""Replicates computed at once: 200 × 3,000 radiographs × 8 bytes stay within the caches' reach."""


class Estimate(TypedDict):
    """A figure with its interval; None where it does not exist (a part with one class only)."""

    value: float | None
    low: float | None
    high: float | None


Values = dict[object, np.ndarray]
"""Name of a measure → its value in each replicate, NaN where it does not exist."""


@dataclass(frozen=True)
class Bootstrapped:
    """Estimates by name; how many replicates were drawn, and skipped for want of a class."""

    estimates: dict[object, Estimate]
    replicates: int
    skipped: int


def bootstrap(
    values: Callable[[np.ndarray], Values],
    labels: np.ndarray,
    groups: Sequence[str],
    *,
    replicates: int = 2000,
    seed: int = 0,
    counted: Mapping[object, np.ndarray] | None = None,
    biased: Collection[object] = (),
) -> Bootstrapped:
    """Each measure on all rows, with its 95 % interval over groups.

    values: weights float64 [replicates, n] → measures. labels: int or bool [n]; a replicate without
    each class that the rows have is skipped and counted. With a single group there is no interval.
    counted: proportion → bool [n], the rows that it counts. Where given, no interval has zero
    width: a proportion's is then Clopper and Pearson's, with as many trials as groups hold a row
    that it counts (conservative: a group's radiographs count as one), another's is left out.
    Without it, as for differences, intervals of zero width stay.
    biased: measures whose replicates are moved by their bias; only differences may fall below 0.
    """
    whole = values(np.ones((1, len(labels))))
    blocks, skipped = [], 0
    if len(set(groups)) > 1:
        for weights in group_weights(groups, replicates, seed):
            kept = has_all_classes(weights, labels)
            skipped += int(np.sum(~kept))
            blocks.append(values(weights[kept]))
    estimates = {}
    for name, value in whole.items():
        drawn = np.concatenate([block[name] for block in blocks]) if blocks else np.empty(0)
        if name in biased and np.isfinite(drawn).any():
            drawn = drawn - np.nanmean(drawn) + value[0]
            drawn = drawn if counted is None else np.maximum(drawn, 0)
        estimates[name] = estimate(value[0], drawn, len(drawn) + skipped)
        if counted is not None and _has_no_width(estimates[name]):
            rows = counted.get(name)
            trials = 0 if rows is None else len(set(np.asarray(groups)[rows]))
            estimates[name] = _without_false_certainty(value[0], trials)
    return Bootstrapped(estimates, replicates, skipped)


def group_weights(groups: Sequence[str], replicates: int, seed: int) -> Iterator[np.ndarray]:
    """Blocks of replicates: float64 [at most BLOCK, n], how often each row was drawn."""
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    share = np.full(len(names), 1 / len(names))
    generator = np.random.default_rng(seed)
    for start in range(0, replicates, BLOCK):
        size = min(BLOCK, replicates - start)
        drawn = generator.multinomial(len(names), share, size=size).astype(float)
        yield drawn[:, member]


def has_all_classes(weights: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """bool [replicates]: whether each class among `labels` was drawn at least once."""
    present = np.stack([labels == label for label in np.unique(labels)], axis=1)
    return (weights @ present > 0).all(axis=1)


def estimate(value: float, drawn: np.ndarray, replicates: int) -> Estimate:
    """A value with the percentile interval of its replicates.

    replicates: how many there were, those included that were skipped. No interval where fewer than
    half of them have a value.
    """
    if not np.isfinite(value):
        return Estimate(value=None, low=None, high=None)
    found = drawn[np.isfinite(drawn)]
    if len(found) == 0 or len(found) < replicates / 2:
        return Estimate(value=float(value), low=None, high=None)
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value=float(value), low=float(low), high=float(high))


def clopper_pearson(share: float, trials: int) -> tuple[float, float]:
    """The exact 95 % interval of a share of independent trials."""
    hits, tail = share * trials, (1 - LEVEL) / 2
    low = 0.0 if share == 0 else beta.ppf(tail, hits, trials - hits + 1)
    high = 1.0 if share == 1 else beta.ppf(1 - tail, hits + 1, trials - hits)
    return float(low), float(high)


def _has_no_width(figure: Estimate) -> bool:
    return figure["low"] is not None and figure["high"] - figure["low"] < 1e-9


def _without_false_certainty(value: float, trials: int) -> Estimate:
    """trials: groups that a proportion counts; 0 for a measure that is none."""
    low, high = clopper_pearson(float(value), trials) if trials else (None, None)
    return Estimate(value=float(value), low=low, high=high)
