"""Models measured on a part of a data set, as reports, and side by side."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path

import numpy as np

from kirik.bundle import Bundle, find_bundle, load_bundle
from kirik.console import Console
from kirik.dataset.check import groups_of, select
from kirik.dataset.index import Index, Record
from kirik.dataset.places import refuse_folder
from kirik.dataset.sources import load_index
from kirik.dataset.split import Split, load_split, published_splits
from kirik.errors import DataSetError, SplitError
from kirik.evaluation.compare import Comparison, compare
from kirik.evaluation.examples import Example, choose_examples
from kirik.evaluation.metrics import measure, read_metrics
from kirik.evaluation.predictions import Predictions, read_predictions
from kirik.evaluation.report import bias_warnings, few_groups, write_report
from kirik.operating_points import OperatingPoints
from kirik.output.overlay import draw_marked
from kirik.radiograph import read_radiograph
from kirik.reading.classifier import Classifier
from kirik.reading.reading import Failure, Reading
from kirik.training.runs import trained_on


def report_on(
    model: Path,
    index: Index,
    split: Split,
    part: str,
    out: Path,
    *,
    threshold: float | None = None,
    bootstrap: int = 2000,
    seed: int = 0,
    language: str = "en",
    console: Console | None = None,
) -> tuple[dict, dict[str, str]]:
    """Read a part with a bundle (or a run's), measure, and write report, metrics, predictions.

    threshold: from it on, a radiograph counts as called fractured; None takes the bundle's upper
        operating point, from which a reading says "fracture", and 0.5 where it has none.
    Returns the metrics, and why radiographs could not be read, by id; those are left out and
    listed in the report.
    """
    # Every radiograph of the part is measured; how many the gate would refuse is told beside it.
    classifier = Classifier(load_bundle(model), gate=False)
    classes = _classes_of(classifier, index)  # refused before anything is read
    records = select(index, split, part)
    console = console or Console()
    told = [(name, classifier.classes[at]) for name, at in zip(index.classes, classes, strict=True)]
    if any(name != own for name, own in told):
        console.say("classes: " + ", ".join(f"{name} as {own}" for name, own in told))
    with console.reading(len(records)) as progress:
        readings, failures = read_all(classifier, records, progress)
    predictions = predictions_of(readings, index, split, classifier)
    points = classifier.manifest.operating_points
    if threshold is None:
        threshold = points.high if points else 0.5
    metrics = measure(
        predictions, threshold=threshold, operating_points=points, bootstrap=bootstrap, seed=seed
    )
    metrics["out_of_scope"] = _refused(readings, classifier)
    provenance = classifier.manifest.provenance
    known = [split, *_splits_by(classifier.bundle)]
    seen, all_known = _trained_on(classifier.bundle, known, predictions.ids)
    facts = {
        "model": classifier.name,
        "network": classifier.manifest.network,
        "data_set": index.root.resolve().name,
        "split": split.name,
        "part": part,
        "seed": provenance.get("settings", {}).get("seed"),
        "bootstrap_seed": seed,
        **seen_facts(seen, all_known),
        "unreadable": list(failures.values()),
        "versions": provenance.get("versions", {}),
        "data_sha256": provenance.get("data_sha256"),
    }
    history = classifier.bundle.files.get("history.csv")
    write_report(
        out,
        predictions,
        metrics,
        history=history,
        examples=_examples(predictions, readings, threshold, points, language),
        facts=facts,
        language=language,
    )
    warnings = bias_warnings(facts, metrics["n"], language)[:1]
    for warning in warnings + few_groups(metrics, language):
        console.say(f"{out}: {warning}")
    return metrics, failures


def _refused(readings, classifier: Classifier) -> int | None:
    """How many of these readings' radiographs the scope gate refuses."""
    scope = classifier.manifest.scope
    if scope is None:
        return None
    return sum(not reading.strangeness <= scope.threshold for _, reading in readings)


def _splits_by(bundle: Bundle) -> Iterator[Split]:
    """Splits that a model may have been trained on: those that lie in its run's folder, or in the
    folders of a cross-validated one's runs, and the published ones."""
    places: list[str | Path] = [*published_splits()]
    if bundle.path.name == "bundle":
        run = bundle.path.parent
        places += [*run.glob("split.csv"), *run.glob("*/split.csv")]
    for path in places:
        with suppress(SplitError):
            yield load_split(path)


def _trained_on(
    bundle: Bundle, known: Sequence[Split], ids: Sequence[str]
) -> tuple[set[str], bool]:
    """Those of these radiographs, by their ids, that the model learned from or was chosen on, and
    whether that is known of it whole: its split, or each of its networks', is one of the known
    ones and names most of the ids. A few alike may be another data set's.

    What chooses epoch, calibration and thresholds is held out of the part that trains, so both
    come from the same radiographs. What is made of several networks has seen what any of them has.
    """
    if bundle.members:
        each = [_trained_on(member, known, ids) for member in bundle.members]
        return set().union(*(seen for seen, _ in each)), all(sure for _, sure in each)
    provenance = bundle.manifest.provenance
    digest = provenance.get("split_sha256")
    split = next((one for one in known if one.digest == digest), None)
    if split is None or 2 * len(split.assignments.keys() & {*ids}) <= len(ids):
        return set(), False
    return {*trained_on(split, provenance.get("fold"), ids)}, True


def seen_facts(seen: Collection[str], all_known: bool) -> dict:
    """What a report says of the radiographs that a model has seen, as far as that is known."""
    trained, count = bool(seen) if seen or all_known else None, len(seen) or None
    return {
        "trained_on_this_part": trained,
        "selected_on_this_part": trained,
        "seen_in_training": count if all_known else None,
        "seen_at_least": None if all_known else count,
    }


def read_all(
    classifier: Classifier, records: Sequence[Record], progress
) -> tuple[list[tuple[Record, Reading]], dict[str, str]]:
    """Readings with their records, and by id why others failed, without the files' places.

    A file of several frames fails: a record is of one radiograph.
    """
    readings, failures = [], {}
    named: dict[str, list[Record]] = {}  # a table may name one file in several rows
    for record in records:
        named.setdefault(str(record.path), []).append(record)
    results = classifier.read_many(named)
    of_files = groupby(results, key=lambda result: result.path)
    for own, (_, frames) in zip(named.values(), of_files, strict=True):
        result, *others = frames
        for record in own:
            if others:
                failures[record.id] = (
                    f"{record.id}: {1 + len(others)} frames or pages, where one radiograph is "
                    "expected; give each as a file of its own"
                )
            elif isinstance(result, Failure):
                failures[record.id] = result.error.replace(str(record.path), record.id)
            else:
                readings.append((record, result))
            progress(len(readings) + len(failures), len(records))
    if not readings:
        raise DataSetError(
            f"none of the {len(records)} radiographs can be read; "
            f"first: {next(iter(failures.values()))}"
        )
    return readings, failures


def predictions_of(
    readings: Sequence[tuple[Record, Reading]], index: Index, split: Split, classifier: Classifier
) -> Predictions:
    """Readings beside their records' labels, as the model's classes. Raises DataSetError if the
    data set's are others."""
    classes = _classes_of(classifier, index)
    records = [record for record, _ in readings]
    return Predictions(
        tuple(record.id for record in records),
        labels=np.array([classes[record.label] for record in records]),
        probabilities=np.array([list(reading.probabilities.values()) for _, reading in readings]),
        classes=classifier.classes,
        negative=classifier.manifest.negative,
        peaks_on_fracture=_peaks(readings) if classifier.manifest.evidence else None,
        **kinds_of(records, index, split),
    )


def kinds_of(records: Sequence[Record], index: Index, split: Split) -> dict:
    """`groups` and `subgroups` of `Predictions` for these records."""
    group_of, hardware = groups_of(split, index), {True: "yes", False: "no", None: ""}
    return {
        "groups": tuple(group_of[record.id] for record in records),
        "subgroups": {
            "region": tuple("+".join(record.region) for record in records),
            "view": tuple("+".join(record.view) for record in records),
            "hardware": tuple(hardware[record.hardware] for record in records),
        },
    }


def _classes_of(classifier: Classifier, index: Index) -> tuple[int, ...]:
    """Which of the model's classes each of a data set's is: by name or, of two, by which of them
    means "no fracture". Raises DataSetError if they are others."""
    own, negative = classifier.classes, classifier.manifest.negative
    if set(own) == set(index.classes):
        return tuple(own.index(name) for name in index.classes)
    if len(own) == len(index.classes) == 2 and None not in (negative, index.negative):
        return (negative, 1 - negative) if index.negative == 0 else (1 - negative, negative)
    raise DataSetError(
        f"{index.root}: its classes ({', '.join(index.classes)}) are not those of the model "
        f"({', '.join(own)}); two classes do, of which one says that there is no fracture"
    )


def _peaks(readings: Sequence[tuple[Record, Reading]]) -> np.ndarray:
    """1.0 where the map's peak lies in one of the record's boxes, 0.0 where not, NaN without."""
    hits = np.full(len(readings), np.nan)
    for i, (record, reading) in enumerate(readings):
        if record.boxes and reading.peak is not None:
            x, y = reading.peak.x, reading.peak.y
            hits[i] = any(
                left <= x <= left + width and top <= y <= top + height
                for left, top, width, height in record.boxes
            )
    return hits


def _examples(
    predictions: Predictions,
    readings,
    threshold: float,
    points: OperatingPoints | None,
    language: str,
) -> list[Example]:
    """The most telling radiographs, each read from its file once more for its picture."""
    examples = []
    for kind, rows in choose_examples(
        predictions, threshold=threshold, operating_points=points
    ).items():
        for row in rows:
            record, reading = readings[row]
            radiograph, marked = read_radiograph(record.path), None
            if reading.evidence is not None:
                marked = draw_marked(radiograph, reading, language)
            examples.append(
                Example(
                    record.id,
                    int(predictions.labels[row]),
                    predictions.probabilities[row],
                    radiograph.pixels,
                    marked,
                    kind,
                )
            )
    return examples


def evaluate(
    model: Path,
    data: Path,
    *,
    split: str | Path,
    part: str,
    out: Path,
    **options,
) -> tuple[dict, dict[str, str]]:
    """`report_on` for a data set's folder and a split's name or file. Raises OutputError besides,
    before anything is read, if `out` cannot be made, or is the data set's own."""
    bundle, index, where = find_bundle(model), load_index(data), load_split(split)
    refuse_folder(out, index)
    return report_on(bundle, index, where, part, out, **options)


def compare_runs(folders: Sequence[Path], *, bootstrap: int = 2000, seed: int = 0) -> Comparison:
    """Runs, or folders of `evaluate`, side by side; the first one is what the others differ from.

    Runs of one name are told apart by the folders that they lie in.
    Raises DataSetError if one has no report or is given twice, or they answer different questions.
    """
    found, names = [], _telling_names([folder.resolve() for folder in folders])
    for folder, name in zip(folders, names, strict=True):
        report = folder / "report" if (folder / "report").is_dir() else folder
        if not (report / "predictions.csv").is_file():
            raise DataSetError(
                f"{folder}: no predictions.csv in it; name a run, or what kirik evaluate wrote"
            )
        metrics = read_metrics(report / "metrics.json")
        found.append((name, read_predictions(report / "predictions.csv"), metrics))
    return compare(found, bootstrap=bootstrap, seed=seed)


def _telling_names(folders: Sequence[Path]) -> list[str]:
    """Each folder's name, with those above it as far as another folder ends alike."""
    names = []
    for folder in folders:
        depth = 1
        while depth < len(folder.parts) and any(
            other != folder and other.parts[-depth:] == folder.parts[-depth:] for other in folders
        ):
            depth += 1
        names.append("/".join(folder.parts[-depth:]))
    return names
