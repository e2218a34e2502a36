"""Which radiographs to show: the surest right and wrong ones, and the most doubtful."""

from dataclasses import dataclass

import numpy as np

from kirik.evaluation.predictions import Predictions
from kirik.operating_points import OperatingPoints

KINDS = ("missed", "false_alarm", "found", "cleared", "wrong", "right", "uncertain")
"""In the order of a report: missed fractures first, for they harm most."""


@dataclass(frozen=True)
class Example:
    """One radiograph with its reading, to be shown.

    label: the true class's index. probabilities: float [classes].
    pixels: float32 [rows, columns] in 0…1, or uint8 RGB [rows, columns, 3]; about 480 a side do.
    overlay: the same radiograph with the evidence drawn into it, uint8 RGB, or None.
    kind: which of KINDS it stands for, as `choose_examples` said; by default "right" or "wrong".
    """

    id: str
    label: int
    probabilities: np.ndarray
    pixels: np.ndarray
    overlay: np.ndarray | None = None
    kind: str | None = None


def choose_examples(
    predictions: Predictions,
    per_kind: int = 6,
    seed: int = 0,
    *,
    threshold: float = 0.5,
    operating_points: OperatingPoints | None = None,
) -> dict[str, list[int]]:
    """Row numbers by kind, the most telling first; no row twice, and one per group and kind.

    Fractured or not: `missed` and `false_alarm` (wrong, surest first), `found` and `cleared`
    (right, surest first), `uncertain` (nearest to the middle of the operating points, or else to
    the threshold). With operating points, only what lies below `low` is missed or cleared, and
    only what lies at or above `high` a false alarm or found: between them nothing was decided.
    Without a negative class: `wrong`, `right`, `uncertain`. Kinds without a row are left out. The
    seed breaks ties.
    """
    low = high = threshold
    if operating_points is not None:
        low, high = operating_points.low, operating_points.high
    sure, kinds = _binary(predictions, low, high) if predictions.binary else _classes(predictions)
    mixed = np.random.default_rng(seed).permutation(len(predictions.ids))
    surest = mixed[np.argsort(-sure[mixed], kind="stable")]
    chosen: dict[str, list[int]] = {}
    for kind, rows in kinds.items():
        chosen[kind] = _one_per_group(surest[rows[surest]], predictions.groups, per_kind)
    taken = {row for rows in chosen.values() for row in rows}
    nearest = mixed[np.argsort(sure[mixed], kind="stable")]
    rest = np.array([row for row in nearest if row not in taken], dtype=int)
    chosen["uncertain"] = _one_per_group(rest, predictions.groups, per_kind)
    return {kind: rows for kind, rows in chosen.items() if rows}


def _binary(predictions: Predictions, low: float, high: float) -> tuple[np.ndarray, dict]:
    """How far each probability lies from the middle, and which rows are of which kind."""
    probability, fractured = predictions.fracture_probability, predictions.fractured
    called, dismissed = probability >= high, probability < low
    return np.abs(probability - (low + high) / 2), {
        "missed": fractured & dismissed,
        "false_alarm": ~fractured & called,
        "found": fractured & called,
        "cleared": ~fractured & dismissed,
    }


def _classes(predictions: Predictions) -> tuple[np.ndarray, dict]:
    """How far the first class leads the second, and which rows are of which kind."""
    ranked = np.sort(predictions.probabilities, axis=1)
    right = predictions.probabilities.argmax(axis=1) == predictions.labels
    return ranked[:, -1] - ranked[:, -2], {"wrong": ~right, "right": right}


def _one_per_group(rows: np.ndarray, groups: tuple[str, ...], count: int) -> list[int]:
    """The first rows of different groups, so that one exam does not fill a kind."""
    seen, kept = set(), []
    for row in rows.tolist():
        if len(kept) == count:
            break
        if groups[row] not in seen:
            seen.add(groups[row])
            kept.append(row)
    return kept
