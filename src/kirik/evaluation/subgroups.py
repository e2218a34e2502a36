"""The same measures, subgroup by subgroup: does it work on hands as on hips, with hardware too?"""

from collections import Counter
from typing import Any

import numpy as np

from kirik.evaluation.predictions import Predictions
from kirik.evaluation.questions import ClassQuestion, FractureQuestion, answered

SMALLEST = 20
SMALLEST_CLASS = 5
MOST_LEVELS = 12
NEEDS = {
    "auroc": (True, True),
    "auprc": (True, True),
    "sensitivity": (True, False),
    "specificity": (False, True),
}
"""Measure → whether it needs fractured radiographs, and whether it needs others."""


def subgroup_tables(
    predictions: Predictions,
    *,
    threshold: float | np.ndarray = 0.5,
    bootstrap: int = 2000,
    seed: int = 0,
) -> dict[str, list[dict[str, Any]]]:
    """One table per subgroup column: a row per level, the largest first.

    A row has level, n, fractured, prevalence, too_small, and the figures. A figure is None where
    the subgroup has fewer than 20 radiographs or fewer than 5 of a class that the figure needs;
    `too_small` says that one is missing for that. Without a negative class the figures are accuracy
    and balanced accuracy. Beyond 12 levels, the smallest are one level "…".
    """
    own = np.broadcast_to(threshold, len(predictions.ids))
    return {
        name: [
            {"level": str(level)} | _row(predictions.select(rows), own[rows], bootstrap, seed)
            for level, rows in _levels(column)
        ]
        for name, column in predictions.subgroups.items()
    }


def _levels(column: tuple[str, ...]) -> list[tuple[str, np.ndarray]]:
    """(level, bool [n]) from the largest to the smallest."""
    values = np.array(column)
    counted = Counter(column)
    names = sorted(counted, key=lambda name: (-counted[name], name))
    if len(names) <= MOST_LEVELS:
        return [(name, values == name) for name in names]
    large, rest = names[: MOST_LEVELS - 1], names[MOST_LEVELS - 1 :]
    return [(name, values == name) for name in large] + [("…", np.isin(values, rest))]


def _row(part: Predictions, threshold: np.ndarray, replicates: int, seed: int) -> dict[str, Any]:
    if not part.binary:
        return _class_row(part, replicates, seed)
    n, fractured = len(part.ids), int(part.fractured.sum())
    enough = (fractured >= SMALLEST_CLASS, n - fractured >= SMALLEST_CLASS)
    shown = [
        name
        for name, needs in NEEDS.items()
        if n >= SMALLEST
        and all(there or not need for need, there in zip(needs, enough, strict=True))
    ]
    figures = (
        answered(FractureQuestion(part, threshold), part, replicates, seed).estimates
        if shown
        else {}
    )
    return {
        "n": n,
        "fractured": fractured,
        "prevalence": fractured / n,
        "too_small": len(shown) < len(NEEDS),
        **{name: figures[name] if name in shown else None for name in NEEDS},
    }


def _class_row(part: Predictions, replicates: int, seed: int) -> dict[str, Any]:
    names = ("accuracy", "balanced_accuracy")
    enough = len(part.ids) >= SMALLEST
    figures = answered(ClassQuestion(part), part, replicates, seed).estimates if enough else {}
    return {
        "n": len(part.ids),
        "too_small": not enough,
        **{name: figures.get(name) for name in names},
    }
