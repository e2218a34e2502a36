"""The measures of a part, each with its 95 % interval, as plain values that JSON can hold."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from kirik.errors import DataSetError, SettingsError
from kirik.evaluation.bootstrap import LEVEL, Bootstrapped
from kirik.evaluation.predictions import Predictions
from kirik.evaluation.questions import ClassQuestion, FractureQuestion, answered
from kirik.evaluation.subgroups import subgroup_tables
from kirik.evaluation.wording import interval_text, measure_name, value_text
from kirik.operating_points import CrossFitted, OperatingPoints

FORMAT = 1
Metrics = dict[str, Any]
THREE_WAY = [
    "share_fracture",
    "share_uncertain",
    "share_no_fracture",
    "sensitivity_at_low",
    "specificity_at_high",
    "error_in_decided",
    "error_in_fracture",
    "error_in_no_fracture",
    "fractures_dismissed",
]


def measure(
    predictions: Predictions,
    *,
    threshold: float = 0.5,
    operating_points: OperatingPoints | None = None,
    cross_fitted: CrossFitted | None = None,
    bootstrap: int = 2000,
    seed: int = 0,
) -> Metrics:
    """Everything that the report tells, as a dict of plain values.

    threshold: at or above this probability of a fracture a radiograph counts as called fractured.
    operating_points: where given, the three-way decision is measured too.
    cross_fitted: where given, each radiograph is called and decided by its own points (called
        fractured from its upper one on); `threshold` and `operating_points` are then only named.
    bootstrap: replicates for the intervals, drawn over groups; 0 for none.

    The dict: `n`, `groups`, `classes` (name → radiographs), `negative`, `prevalence`, `bootstrap`
    (`skipped`: draws left out of the figures of `fracture`, else of `by_class`;
    `skipped_by_class`: those left out of `by_class`, None without it);
    `fracture` (fractured or not: None without a negative class), `by_class` (None where the only
    classes are fractured and not), `confusion` (rows true, columns called) and `subgroups`. Each
    figure is {"value", "low", "high"}, None where it does not exist. Where resampling gives an
    interval of no width (all right, or all wrong), a proportion has the exact one of Clopper and
    Pearson over groups, and another measure, such as an AUROC of 1, has none.

    fracture: auroc, auprc (average precision), sensitivity_at_specificity_90,
    specificity_at_sensitivity_90, specificity_at_sensitivity_95 (their thresholds are taken on
    these same radiographs), accuracy, balanced_accuracy, sensitivity, specificity, ppv, npv, f1,
    mcc, brier, ece (15 bins of equal mass; its interval is freed of its replicates' bias), log_loss
    (natural), peak_on_fracture where known, `threshold`, `cross_fitted` (bool), `three_way`.
    Raises DataSetError without a radiograph, SettingsError for a threshold outside 0…1.
    """
    if not predictions.ids:
        raise DataSetError("no radiographs to measure: the part is empty")
    if not 0 <= threshold <= 1:
        raise SettingsError(f"threshold {threshold}: expected a probability, 0…1")
    fracture = by_class = skipped = skipped_by_class = None
    if predictions.binary:
        question = FractureQuestion(
            predictions,
            cross_fitted.high if cross_fitted else threshold,
            cross_fitted or operating_points,
        )
        fracture, skipped = _fracture(question, predictions, operating_points, bootstrap, seed)
        fracture["threshold"] = threshold
        fracture["cross_fitted"] = cross_fitted is not None
    if not _two_classes(predictions):
        by_class, skipped_by_class = _by_class(predictions, bootstrap, seed)
    return _whole(predictions) | {
        "bootstrap": {
            "replicates": bootstrap,
            "skipped": skipped_by_class if fracture is None else skipped,
            "skipped_by_class": skipped_by_class,
            "seed": seed,
            "over": "groups",
            "level": LEVEL,
        },
        "fracture": fracture,
        "by_class": by_class,
        "confusion": _confusion(predictions, cross_fitted.high if cross_fitted else threshold),
        "subgroups": subgroup_tables(
            predictions,
            threshold=cross_fitted.high if cross_fitted else threshold,
            bootstrap=bootstrap,
            seed=seed,
        ),
    }


def read_metrics(path: Path) -> Metrics:
    """What `measure` gave, with what a report adds, from its file. Raises DataSetError if it is
    something else, or damaged."""
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
        numbers, fracture = [metrics["n"], metrics["groups"]], metrics["fracture"]
        if fracture is not None:
            numbers += [metrics["prevalence"], fracture["threshold"]]
        for own in (fracture, metrics["by_class"]):
            figures = [f for f in (own or {}).values() if isinstance(f, dict) and "value" in f]
            ends = [f[end] for f in figures for end in ("value", "low", "high")]
            numbers += [end for end in ends if end is not None]
        if not all(isinstance(number, int | float) for number in numbers):
            raise TypeError("a figure is no number")
        dict(metrics.get("facts") or {})
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        what = f"{error} is not in it" if isinstance(error, LookupError) else error
        raise DataSetError(f"{path}: no readable figures ({what}); evaluate it again") from error
    return metrics


def headline(metrics: Metrics, language: str = "en") -> str:
    """The main figures in one line, with their intervals, as a console prints them."""
    figures = metrics["by_class"] if metrics["fracture"] is None else metrics["fracture"]
    names = ("auroc", "auprc", "macro_auroc", "sensitivity", "specificity", "accuracy")
    parts = []
    for name in names:
        if name in figures:
            figure = figures[name]
            interval = interval_text(figure, name, language)
            value = value_text(figure["value"], name, language)
            shown = f"{value} ({interval})" if interval else value
            parts.append(f"{measure_name(name, language)} {shown}")
    return ", ".join(parts)


def _two_classes(predictions: Predictions) -> bool:
    return predictions.binary and len(predictions.classes) == 2


def _whole(predictions: Predictions) -> Metrics:
    counts = np.bincount(predictions.labels, minlength=len(predictions.classes))
    binary = predictions.binary
    return {
        "format": FORMAT,
        "n": len(predictions.ids),
        "groups": len(set(predictions.groups)),
        "classes": dict(zip(predictions.classes, counts.tolist(), strict=True)),
        "negative": predictions.classes[predictions.negative] if binary else None,
        "prevalence": float(predictions.fractured.mean()) if binary else None,
    }


def _fracture(
    question: FractureQuestion,
    predictions: Predictions,
    points: OperatingPoints | None,
    replicates: int,
    seed: int,
) -> tuple[Metrics, int]:
    drawn = answered(question, predictions, replicates, seed)
    figures = {name: figure for name, figure in drawn.estimates.items() if name not in THREE_WAY}
    figures["three_way"] = None if points is None else _three_way(question, points, drawn)
    return figures, drawn.skipped


def _three_way(question: FractureQuestion, points: OperatingPoints, drawn: Bootstrapped) -> Metrics:
    """Counts by decision and the figures, beside the points that made them."""
    cells = question.three_way(np.ones((1, len(question.labels))))
    counts = {
        name: {"fractured": int(fractured), "not_fractured": int(others)}
        for name, ((fractured,), (others,)) in cells.items()
    }
    return {
        "points": points.to_dict(),
        "counts": counts,
        **{name: drawn.estimates[name] for name in THREE_WAY},
    }


def _by_class(predictions: Predictions, replicates: int, seed: int) -> tuple[Metrics, int]:
    drawn = answered(ClassQuestion(predictions), predictions, replicates, seed)
    per_class: Metrics = {name: {} for name in predictions.classes}
    figures: Metrics = {}
    for name, figure in drawn.estimates.items():
        if isinstance(name, tuple):
            per_class[predictions.classes[name[0]]][name[1]] = figure
        else:
            figures[name] = figure
    return figures | {"per_class": per_class}, drawn.skipped


def _confusion(predictions: Predictions, threshold: float | np.ndarray) -> Metrics:
    """Counts and percent of the true class (None for a class without radiographs)."""
    ones = np.ones((1, len(predictions.ids)))
    if _two_classes(predictions):
        tp, fn, fp, tn = (
            int(c[0]) for c in FractureQuestion(predictions, threshold).confusion(ones)
        )
        counts = np.array([[tn, fp], [fn, tp]])
        if predictions.negative == 1:
            counts = counts[::-1, ::-1]
    else:
        counts = ClassQuestion(predictions).confusion(ones)[0].astype(int)
    percent = [
        [round(100 * cell / int(row.sum()), 2) for cell in row.tolist()] if row.sum() else None
        for row in counts
    ]
    return {"classes": list(predictions.classes), "counts": counts.tolist(), "percent": percent}
