"""Cross-validation: every development radiograph read by a network that never saw its group.

What a model needs beside its weights (calibration, operating points, the findings' threshold) is
chosen on these out-of-fold readings. The figures that are reported choose it for each fold on the
other folds, so that no radiograph is judged by what it helped to choose.

DIR/fold1 …            the training runs, which are gone on with where they stopped
DIR/fold1/read.csv …   what each fold's network said of the fold left out, before calibration, and
                       beside it its findings, their strangeness, and what could not be read
DIR/report             out-of-fold predictions, calibrated by cross-fitting, findings, and figures
DIR/bundle             the model: one network trained on all of dev, or the average of the folds'
"""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from kirik.bundle import Bundle, average_bundles, load_bundle
from kirik.card import with_card
from kirik.console import Console
from kirik.dataset.check import select
from kirik.dataset.index import Index, Record
from kirik.dataset.places import refuse_folder
from kirik.dataset.sources import load_index
from kirik.dataset.split import Split
from kirik.dataset.tables import write_table
from kirik.errors import DataSetError, SettingsError
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
from kirik.operating_points import CrossFitted, choose_operating_points
from kirik.radiograph import Radiograph
from kirik.reading.classifier import Classifier
from kirik.reading.evidence import FAINTEST
from kirik.shipping import (
    Choices,
    compacted,
    costs,
    drafts,
    examples_of,
    rewrite,
    shared_provenance,
    summary_of,
)
from kirik.training.settings import PLACES, TrainingSettings
from kirik.trainings import Training, refuse_several_processes, train_all
from kirik.workflow import choose_scope, predictions_of, read_all

Final = Literal["single", "average", "none"]
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


def cross_validate(
    data: Path,
    settings: TrainingSettings,
    directory: Path,
    *,
    split: Split,
    final: Final = "single",
    at_once: int = 1,
    bootstrap: int = 2000,
    language: str = "en",
    console: Console | None = None,
) -> tuple[Metrics, Path | None]:
    """Train a network for each fold without it, read the fold with it, choose, measure, bundle.

    settings: their `validation` is set to 0: the folds left out choose, so all the rest trains.
    final: `single` trains one more network on all of dev; `average` joins the folds' networks.
    at_once: how many trainings run side by side, each in a process of its own.
    Calling it again goes on where it stopped. Returns the metrics and the bundle's folder.
    Raises SettingsError if torchrun began several processes, the split has no folds, a run that is
    built on has none for one of them, or the folder was begun otherwise, DataSetError if labels
    have changed since, OutputError if the folder cannot be made, or is the data set's own, else
    what training and reading raise.
    """
    from kirik.training.run import replace_file, resolve, to_toml
    from kirik.training.runs import is_run

    console = console or Console()
    refuse_several_processes("crossval")
    if not split.folds:
        raise SettingsError(f"split {split.name} has no folds; make one with kirik data split")
    settings = resolve(settings.model_copy(update={"validation": 0.0}))
    index = load_index(data)
    refuse_folder(directory, index)
    _check_begun(settings, directory, split, index)
    _check_built_on(settings, directory, split)
    trained = partial(Training, data, settings, split=split, language=language)
    last = [trained(directory / "all", fold=None)] if final == "single" else []
    folds = [trained(directory / f"fold{fold}", fold=fold) for fold in split.folds]
    train_all([*folds, *(last if at_once > 1 else [])], at_once, console)
    read = concat([read_fold(one.run, index, split, one.fold, console) for one in folds])
    replace_file(directory / "settings.toml", to_toml(settings, without=PLACES))
    before = Path(settings.weights).expanduser()
    examples = examples_of(index, split)
    bundles = [load_bundle(one.run) for one in folds]
    with drafts(directory) as folder:
        # One more network, trained on all of dev, costs what the first fold's does.
        model = _draft(folder, bundles if final == "average" else bundles[:1], examples)
        cost = costs(model, index, split)
    metrics = report_out_of_fold(
        directory / "report",
        read,
        facts_of(
            directory,
            index,
            split,
            network=settings.network,
            seed=settings.seed,
            **_began_with(bundles[0], before.name if is_run(before) else None),
            **({"overview": Path(settings.overview).name} if settings.overview else {}),
            **({"final": final} if final != "single" else {}),
            cost=cost,
        ),
        bootstrap=bootstrap,
        language=language,
    )
    if final == "none":
        return metrics, None
    if last:
        train_all(last, 1, console)
        bundles = [load_bundle(one.run) for one in last]
    return metrics, _finish(directory, bundles, choose(read), metrics, examples)


def _began_with(first: Bundle, run: str | None) -> dict[str, str | None]:
    """The facts that tell which weights the folds' networks began with: a run's, or others."""
    weights = first.manifest.provenance.get("settings", {}).get("weights")
    return {"start": run} | ({} if run else {"weights": weights})


def _check_begun(settings: TrainingSettings, directory: Path, split: Split, index: Index) -> None:
    """Before anything runs: that what is there already was made as the rest will be. Else networks
    could be measured on radiographs that they trained on."""
    refuse_run(directory)
    for name, fold in [*((f"fold{fold}", fold) for fold in split.folds), ("all", None)]:
        run = directory / name
        if (run / "bundle").is_dir() or (run / "run.json").is_file():
            check_labels(run, _check_run(run, settings, split, fold), index, split, fold)


def refuse_run(directory: Path) -> None:
    """Raise SettingsError for the folder of a single training, whose model would be replaced."""
    if (directory / "run.json").is_file():
        raise SettingsError(
            f"{directory}: is the folder of a training; name another one with --out"
        )


def check_labels(run: Path, begun: dict, index: Index, split: Split, fold: int | None) -> None:
    """That a run learned from the classes and labels that the data set has now. begun: its
    run.json, which does not tell all of it if an older kirik wrote it.

    Raises DataSetError if labels or outlines of its training part have changed.
    """
    from kirik.training.run import labels_hash

    records = select(index, split, "dev" if fold is None else f"train{fold}")
    now = {"classes": list(index.classes), "labels_sha256": labels_hash(records, index.classes)}
    if any(begun.get(name, value) != value for name, value in now.items()):
        raise DataSetError(
            f"{run}: the data set's classes, labels or outlines have changed since the run began; "
            "cross-validate anew, in another folder"
        )


def _check_run(run: Path, settings: TrainingSettings, split: Split, fold: int | None) -> dict:
    """That a run is of this split, fold and settings, as far as it tells: there are settings that
    came later than some runs. Returns its run.json."""
    other = "name another folder with --out"
    try:
        begun = json.loads((run / "run.json").read_text(encoding="utf-8"))
        its_split, said = begun["split_sha256"], begun.get("settings", {}) | {"fold": begun["fold"]}
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise SettingsError(
            f"{run}: no usable run.json in it tells how it was made; {other}"
        ) from error
    if its_split != split.digest:
        raise SettingsError(
            f"{run}: was begun on another split than {split.name}, {begun.get('split')}; "
            f"give that one, or {other}"
        )
    own = {*PLACES, "device", "workers"}  # a machine's affair, which may change on the way
    asked = {"fold": fold} | settings.model_dump(exclude=own)
    for name, value in asked.items():
        if name in said and said[name] != value:
            raise SettingsError(
                f"{run}: was begun with {name} {said[name]}, not {value}; "
                f"give that again, or {other}"
            )
    return begun


def _check_built_on(settings: TrainingSettings, directory: Path, split: Split) -> None:
    """Before the first fold trains for an hour: that there is a run to build on for the last one,
    too. A fold that was begun is left to its own."""
    from kirik.training.runs import find_run, is_run

    begun = {fold for fold in split.folds if (directory / f"fold{fold}" / "run.json").is_file()}
    for name in PLACES:
        place = getattr(settings, name)
        if place and is_run(folder := Path(place).expanduser()):
            for fold in sorted(set(split.folds) - begun):
                find_run(folder, fold, f"--{name}", split.digest)


def facts_of(directory: Path, index: Index, split: Split, **own) -> dict:
    """What a report of out-of-fold readings says of their origin."""
    return {
        "model": directory.resolve().name,
        "data_set": index.root.resolve().name,
        "split": split.name,
        "part": "dev",
        "bootstrap_seed": 0,
        "trained_on_this_part": False,
        "selected_on_this_part": False,
        "unreadable": [
            why for fold in split.folds for why in _unreadable(directory / f"fold{fold}")
        ],
        **own,
    }


def read_fold(run: Path, index: Index, split: Split, fold: int, console: Console) -> Read:
    """The fold left out, read by its run's bundle; from the run's files where that was done.

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


def _unreadable(run: Path) -> list[str]:
    """Why radiographs of the fold left out could not be read."""
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
    has_map = read.localized is not None and any(len(boxes) for boxes in read.localized.truth)
    shown_from = choose_shown_from(read.localized) if has_map else None
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


def _draft(folder: Path, bundles: Sequence[Bundle], examples: Sequence[Radiograph]) -> Bundle:
    """The bundle that will be made of these networks, but for what the folds choose."""
    members = [
        compacted(folder / str(number), bundle, bundle.manifest, examples)
        for number, bundle in enumerate(bundles)
    ]
    if len(members) == 1:
        return members[0]
    return average_bundles([member.path for member in members], folder / "average", "average")


def _finish(
    directory: Path,
    bundles: list[Bundle],
    chosen: Choices,
    metrics: Metrics,
    examples: Sequence[Radiograph],
) -> Path:
    """The bundle of the model: networks as they were trained, their weights stored in
    fewer bits, with what the folds chose."""
    out, name, summary = directory / "bundle", directory.resolve().name, summary_of(metrics)
    if len(bundles) == 1:
        rewrite(out, bundles[0], name, chosen, summary, examples)
        return out
    with drafts(directory) as folder:
        members = [folder / str(number) for number in range(len(bundles))]
        for number, (place, bundle) in enumerate(zip(members, bundles, strict=True), 1):
            rewrite(place, bundle, f"{name}-fold{number}", chosen, summary, examples)
        average = average_bundles(
            members,
            folder / "average",
            name,
            operating_points=chosen.points,
            provenance=shared_provenance(bundles[0]) | {"out_of_fold": summary},
        )
        with_card(average, out)
    return out
