"""Radiographs read by networks that never saw their group: what is chosen on them, and figures.

What a model needs beside its weights (calibration, operating points, the findings' threshold) is
chosen on these readings. The figures that are reported choose it for each fold on the other folds,
so that no radiograph is judged by what it helped to choose.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kirik.bundle import load_bundle
from kirik.console import Console
from kirik.dataset.check import select
from kirik.dataset.index import Index, Record
from kirik.dataset.split import Split
from kirik.dataset.tables import write_table
from kirik.errors import DataSetError
from kirik.evaluation.calibration import Calibration, fit_calibration
from kirik.evaluation.localization import (
    FINDINGS,
    Localized,
    choose_shown_from,
    findings_table,
    measure_localization,
)
from kirik.evaluation.metrics import Metrics, measure
from kirik.evaluation.predictions import Predictions, read_predictions
from kirik.evaluation.report import write_report
from kirik.measuring import kinds_of, predictions_of, read_all
from kirik.operating_points import CrossFitted, choose_operating_points
from kirik.reading.classifier import Classifier
from kirik.reading.evidence import FAINTEST
from kirik.shipping import Choices
from kirik.workflow import choose_scope

UNREADABLE = "unreadable.csv"


@dataclass(frozen=True)
class Read:
    """Radiographs read by networks that never saw them, before calibration.

    fold: int [n]. strangeness: float [n]; None where nothing is out of scope. localized: None
    without an evidence map.
    """

    predictions: Predictions
    fold: np.ndarray
    strangeness: np.ndarray | None
    localized: Localized | None

    def select(self, rows: np.ndarray) -> "Read":
        """The radiographs at these positions."""
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        return Read(
            self.predictions.select(rows),
            self.fold[rows],
            None if self.strangeness is None else self.strangeness[rows],
            self.localized.select(rows) if self.localized else None,
        )


def read_fold(run: Path, index: Index, split: Split, fold: int, console: Console) -> Read:
    """The fold left out, read by its run's bundle; from the run's files where that was done, beside
    the groups and subgroups that the split and the data set tell now.

    Raises DataSetError if the fold's labels have changed since.
    """
    records = {record.id: record for record in select(index, split, f"fold{fold}")}
    table, boxes, strange = run / "read.csv", run / FINDINGS, run / "strangeness.csv"
    if not table.is_file():
        classifier = Classifier(load_bundle(run), gate=False, findings_from=FAINTEST)
        with console.reading(len(records)) as progress:
            readings, failures = read_all(classifier, list(records.values()), progress)
        console.unreadable(failures)
        if classifier.manifest.evidence:
            found = findings_table([reading.findings for _, reading in readings])
            _write_findings(boxes, [record.id for record, _ in readings], found)
        if classifier.manifest.scope:
            strangeness = {record.id: reading.strangeness for record, reading in readings}
            write_table(strange, ("image_id", "strangeness"), strangeness.items())
        write_table(run / UNREADABLE, ("image_id", "error"), failures.items())
        # Last, since it says that all is done.
        predictions_of(readings, index, split, classifier).write(table)
    predictions = read_predictions(table)
    _check_read(table, predictions, records, index)
    own = [records[image_id] for image_id in predictions.ids]
    predictions = replace(predictions, **kinds_of(own, index, split))
    localized = strangeness = None
    if boxes.is_file():
        localized = _localized(predictions, records, _read_findings(boxes))
    if strange.is_file():
        own = {row["image_id"]: float(row["strangeness"]) for row in _rows(strange)}
        strangeness = np.array([own[image_id] for image_id in predictions.ids])
    return Read(predictions, np.full(len(predictions.ids), fold), strangeness, localized)


def _check_read(
    table: Path, predictions: Predictions, records: dict[str, Record], index: Index
) -> None:
    """That a fold's readings stand beside the labels that the data set has now."""
    now = {image_id: index.classes[record.label] for image_id, record in records.items()}
    for image_id, label in zip(predictions.ids, predictions.labels, strict=True):
        if now.get(image_id) != predictions.classes[label]:
            raise DataSetError(
                f"{table}: the data set has changed since the fold was read: {image_id} was "
                f"{predictions.classes[label]} and is {now.get(image_id, 'absent')}; "
                "cross-validate anew, in another folder"
            )


def unreadable_of(run: Path) -> list[str]:
    """Why radiographs of the fold that a run left out could not be read."""
    path = run / UNREADABLE  # of an older kirik, none
    return [row["error"] for row in _rows(path)] if path.is_file() else []


_BOX = ("x", "y", "width", "height", "score")


def _write_findings(path: Path, ids: Sequence[str], found: Sequence[np.ndarray]) -> None:
    """found: float [k, 5] for each radiograph: its findings' boxes and scores."""
    rows = [
        (image_id, *(f"{value:.4f}" for value in box))
        for image_id, own in zip(ids, found, strict=True)
        for box in own
    ]
    write_table(path, ("image_id", *_BOX), rows)


def _read_findings(path: Path) -> dict[str, list[list[float]]]:
    found: dict[str, list[list[float]]] = {}
    for row in _rows(path):
        found.setdefault(row["image_id"], []).append([float(row[name]) for name in _BOX])
    return found


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _localized(
    predictions: Predictions, records: dict[str, Record], found: dict[str, list[list[float]]]
) -> Localized:
    truth = [np.array(records[i].boxes, float).reshape(-1, 4) for i in predictions.ids]
    fractured = predictions.fractured if predictions.binary else np.ones(len(truth), bool)
    return Localized(
        tuple(truth),
        tuple(np.array(found.get(i, []), float).reshape(-1, 5) for i in predictions.ids),
        predictions.groups,
        np.array([len(boxes) > 0 for boxes in truth]) == fractured,
    )


def concat(parts: list[Read]) -> Read:
    """The readings of several folds as one."""
    maps, strange = [part.localized for part in parts], [part.strangeness for part in parts]
    localized = None
    if all(maps):
        localized = Localized(
            tuple(boxes for one in maps for boxes in one.truth),
            tuple(boxes for one in maps for boxes in one.found),
            tuple(group for one in maps for group in one.groups),
            np.concatenate([one.known for one in maps]),
        )
    return Read(
        Predictions.concat([part.predictions for part in parts]),
        np.concatenate([part.fold for part in parts]),
        None if any(one is None for one in strange) else np.concatenate(strange),
        localized,
    )


def choose(read: Read, calibration: Calibration | None = None) -> Choices:
    """Calibration, unless it is given, operating points and the findings' threshold, on these
    readings."""
    predictions = read.predictions
    if calibration is None:
        calibration = fit_calibration(predictions.probabilities, predictions.labels)
    points = None
    if predictions.binary:
        calibrated = _calibrated(predictions, calibration)
        points = choose_operating_points(calibrated.fractured, calibrated.fracture_probability)
    own = read.localized
    measured = own and any(len(boxes) > 0 for boxes in own.select(np.flatnonzero(own.known)).truth)
    shown_from = choose_shown_from(own) if measured else None
    scope = None if read.strangeness is None else choose_scope(read.strangeness)
    return Choices(calibration, points, shown_from, scope)


def _calibrated(predictions: Predictions, calibration: Calibration) -> Predictions:
    return replace(predictions, probabilities=calibration.apply(predictions.probabilities))


def cross_fit(read: Read) -> tuple[Read, CrossFitted | None, np.ndarray, int | None]:
    """Each fold calibrated by what the others chose: readings, points, findings' thresholds, and
    how many radiographs their scope refuses, None where there is none."""
    parts, low, high, shown, refused = [], [], [], [], 0
    for fold in np.unique(read.fold):
        own, chosen = read.select(read.fold == fold), choose(read.select(read.fold != fold))
        calibrated = _calibrated(own.predictions, chosen.calibration)
        parts.append(replace(own, predictions=calibrated))
        if chosen.scope:
            refused += int(np.sum(own.strangeness > chosen.scope.threshold))
        count = len(own.fold)
        if chosen.points:
            low.append(np.full(count, chosen.points.low))
            high.append(np.full(count, chosen.points.high))
        shown.append(np.full(count, np.inf if chosen.shown_from is None else chosen.shown_from))
    points = CrossFitted(np.concatenate(low), np.concatenate(high)) if low else None
    shown_from = np.concatenate(shown)
    return concat(parts), points, shown_from, refused if read.strangeness is not None else None


def report_out_of_fold(
    out: Path, read: Read, facts: dict, *, bootstrap: int = 2000, language: str = "en"
) -> Metrics:
    """Measure out-of-fold readings by cross-fitting, and write report, metrics, predictions and
    findings."""
    fitted, points, shown_from, refused = cross_fit(read)
    overall = choose(read)
    metrics = measure(
        fitted.predictions,
        threshold=overall.points.high if overall.points else 0.5,
        operating_points=overall.points,
        cross_fitted=points,
        bootstrap=bootstrap,
    )
    if refused is not None:
        metrics["out_of_scope"] = refused
    if overall.shown_from is not None:
        if points is not None:
            dismissed = fitted.predictions.fracture_probability < points.low
            shown_from = np.where(dismissed, np.inf, shown_from)
        metrics["localization"] = measure_localization(
            fitted.localized, shown_from, replicates=bootstrap
        )
    write_report(out, fitted.predictions, metrics, facts=facts, language=language)
    (out / FINDINGS).unlink(missing_ok=True)
    if fitted.localized:
        _write_findings(out / FINDINGS, fitted.predictions.ids, fitted.localized.found)
    return metrics
