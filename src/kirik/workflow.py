"""The whole jobs, each one function: what joins the rooms that must not know each other.

Training ends in a network, evaluation measures probabilities, a bundle holds a graph; here they
become `train`, `evaluate`, `audit` and `split`, as the command line and a script call them.
"""

import json
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from scipy import stats

from kirik.bundle import (
    Bundle,
    Evidence,
    Manifest,
    Scope,
    cascade_bundles,
    find_bundle,
    load_bundle,
    write_bundle,
)
from kirik.card import model_card
from kirik.console import Console
from kirik.dataset.check import absent, check_split, nothing_binds, select
from kirik.dataset.duplicates import Duplicates, find_duplicates
from kirik.dataset.index import Index, Record
from kirik.dataset.inspect import FileFacts, inspect_files
from kirik.dataset.places import refuse_folder, refuse_unwritable
from kirik.dataset.sources import load_index
from kirik.dataset.sources.bonds import bonds_of_tags
from kirik.dataset.split import Split, load_split, make_split, published_splits, write_split
from kirik.errors import DataSetError, SplitError, TrainingError
from kirik.evaluation.calibration import fit_temperature
from kirik.evaluation.compare import Comparison, compare
from kirik.evaluation.examples import Example, choose_examples
from kirik.evaluation.history import read_history
from kirik.evaluation.metrics import measure
from kirik.evaluation.plots import accuracy_figure, loss_figure
from kirik.evaluation.predictions import Predictions, read_predictions
from kirik.evaluation.report import bias_warnings, few_groups, write_report
from kirik.operating_points import OperatingPoints, choose_operating_points
from kirik.output.overlay import draw_marked
from kirik.radiograph import read_radiograph
from kirik.reading.classifier import Classifier
from kirik.reading.network import softmax
from kirik.reading.reading import Failure, Reading
from kirik.shipping import drafts
from kirik.training.runs import trained_on
from kirik.training.settings import PLACES, TrainingSettings


@dataclass(frozen=True)
class Trained:
    """What a training run came to.

    bundle: its folder; None in all but the first process of several.
    unreadable: id → why a radiograph was left out, of those to train or to report on.
    """

    bundle: Path | None
    unreadable: dict[str, str]


def train(
    data: Path,
    settings: TrainingSettings,
    directory: Path,
    *,
    split: Split,
    fold: int | None = None,
    resume: bool = False,
    report: bool = True,
    language: str = "en",
    console: Console | None = None,
) -> Trained:
    """Train on a split's development part, bundle the best network, and report on `fold`.

    fold: left out of training and, unless `report` is off, reported on; None trains on all of dev
        and reports nothing.
    Raises KirikError's kinds; the run's folder keeps what was done.
    """
    from kirik.training.run import resolve, train_network

    console, settings = console or Console(), resolve(settings)
    index = load_index(data)
    refuse_folder(directory, index)
    records = select(index, split, "dev" if fold is None else f"train{fold}")
    # Of a cross-validation's trainings, which report nothing, the first one tells it for all.
    if index.negative is None and (report or fold in split.folds[:1]):
        console.say(
            f"no class means “no fracture” ({', '.join(index.classes)}): types are told apart, but "
            "not whether there is a fracture; if one means it, rename it to normal or not_fractured"
        )
    with console.decoding("decoding") as decoding, console.training(settings) as progress:
        trained, machine = train_network(
            index,
            records,
            split,
            settings,
            directory,
            fold=fold,
            resume=resume,
            decoding=decoding,
            report=progress.step,
            after_epoch=progress.epoch,
        )
    if not machine.first:
        return Trained(None, {})
    unreadable = dict(trained.unreadable)
    _draw_curves(directory, language)
    bundle = bundle_of(trained, index, directory)
    if report and fold is not None:
        out, part = directory / "report", f"fold{fold}"
        _, failures = report_on(bundle, index, split, part, out, language=language, console=console)
        unreadable |= failures
    return Trained(bundle, unreadable)


def _draw_curves(run: Path, language: str) -> None:
    """Loss and accuracy per epoch as pictures in the run's folder, fold or no fold."""
    history = read_history(run / "history.csv")
    for name, draw in (("loss", loss_figure), ("accuracy", accuracy_figure)):
        draw(history, language).savefig(run / f"{name}.png", dpi=150)


def bundle_of(trained, index: Index, directory: Path) -> Path:
    """Calibrate a trained network on its validation part, export it and write the run's bundle.

    trained: a `kirik.training.run.TrainedNetwork`. Returns the bundle's folder.
    """
    from kirik.training.export import export_onnx

    chosen = _choices(trained, index)
    graph = export_onnx(trained.network, trained.radiographs, chosen["temperature"])
    settings = trained.provenance["settings"]
    overview = settings.get("overview")
    for name in PLACES:  # what lies there is worth knowing, by its name
        if settings.get(name):
            settings = settings | {name: Path(settings[name]).name}
    manifest = Manifest(
        name=directory.resolve().name[:100],
        classes=index.classes,
        negative=index.negative,
        preprocessing=trained.preprocessing,
        attributes=trained.attributes,
        **chosen,
        network=settings["network"],
        provenance=trained.provenance | {"settings": settings},
    )
    files = {
        "model.onnx": graph,
        "card.md": model_card(manifest).encode(),
        "history.csv": directory / "history.csv",
    }
    if not overview:
        write_bundle(directory / "bundle", manifest, files)
    else:
        _join(Path(overview), manifest, files, directory)
    return directory / "bundle"


def _join(overview: Path, closer: Manifest, files: dict, directory: Path) -> None:
    """The run's bundle: the network that it built on, and its own for patches."""
    from kirik.training.runs import find_run

    facts = closer.provenance
    digest = facts["split_sha256"]
    first = load_bundle(find_run(overview.expanduser(), facts["fold"], "--overview", digest))
    with drafts(directory) as folder:
        own = closer.model_copy(update={"name": f"{closer.name}-closer"[:100], "scope": None})
        second = write_bundle(folder / "closer", own, files)
        joined = cascade_bundles(
            first,
            second,
            folder / "cascade",
            closer.name,
            looks=facts["settings"]["looks"],
            looks_from=facts["settings"]["looks_from"],
            close_ups=facts["settings"]["close_ups"],
            overview_weight=facts["settings"]["overview_weight"],
            operating_points=closer.operating_points,
            provenance=facts,
        )
        card = {"card.md": model_card(joined.manifest, joined.members).encode()}
        history = {"history.csv": files["history.csv"]}
        write_bundle(directory / "bundle", joined.manifest, joined.files | card | history)


def _choices(trained, index: Index) -> dict:
    """Temperature, operating points and evidence, from what was held out; without it, plain ones
    that choose nothing: `cross_validate` sets them later."""
    from kirik.training.validated import choose_evidence_threshold

    held_out, pyramid = trained.validation, trained.network.pyramid
    temperature, points, threshold = 1.0, OperatingPoints(0.5, 0.5), 0.5
    scope = Scope(threshold=ANYTHING, accepted=1.0)
    if held_out is not None:
        scope = choose_scope(held_out.strangeness)
        temperature = fit_temperature(held_out.logits, held_out.labels, probabilities=False)
        if index.negative is not None:
            probabilities = softmax(held_out.logits / temperature)
            fractured = held_out.labels != index.negative
            points = choose_operating_points(fractured, 1 - probabilities[:, index.negative])
        if pyramid is not None:
            threshold = choose_evidence_threshold(
                held_out.evidence, held_out.masks, held_out.marked
            )
    stride = trained.preprocessing.size // pyramid.side if pyramid else None
    return {
        "temperature": temperature,
        "operating_points": None if index.negative is None else points,
        "scope": scope if trained.provenance["settings"]["scope"] else None,
        "evidence": Evidence(stride=stride, threshold=threshold, boxes=True) if pyramid else None,
    }


ACCEPTED = 0.99
"""Share of radiographs like those trained on that the scope gate lets through."""


ANYTHING = 1e6
"""A strangeness beyond any radiograph's."""


def choose_scope(strangeness: np.ndarray) -> Scope:
    """The gate that accepts 99 % of radiographs like these, none of which was trained on.

    strangeness: [n], positive. Its quantile counts where n is large enough that 99 % of new ones
    lie below some of these (split conformal prediction: Lei et al. 2018,
    doi:10.1080/01621459.2017.1307116); of fewer, the upper prediction limit of a normal
    distribution of their logarithms, but no less than the strangest of them.
    """
    count = len(strangeness)
    rank = int(np.ceil(ACCEPTED * (count + 1)))
    if rank <= count:
        threshold = float(np.sort(strangeness)[rank - 1])
    else:
        logs = np.log(np.maximum(strangeness, 1e-6))
        spread = logs.std(ddof=1) * np.sqrt(1 + 1 / count) if count > 1 else np.inf
        limit = logs.mean() + stats.t.ppf(ACCEPTED, max(count - 1, 1)) * spread
        threshold = max(float(np.exp(min(limit, np.log(ANYTHING)))), float(strangeness.max()))
    return Scope(threshold=max(threshold, 1e-6), accepted=ACCEPTED)


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
    hardware = {True: "yes", False: "no", None: ""}
    return Predictions(
        tuple(record.id for record in records),
        tuple(split.assignments[record.id].group for record in records),
        np.array([classes[record.label] for record in records]),
        np.array([list(reading.probabilities.values()) for _, reading in readings]),
        classifier.classes,
        classifier.manifest.negative,
        {
            "region": tuple("+".join(record.region) for record in records),
            "view": tuple("+".join(record.view) for record in records),
            "hardware": tuple(hardware[record.hardware] for record in records),
        },
        _peaks(readings) if classifier.manifest.evidence else None,
    )


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
        try:
            metrics = json.loads((report / "metrics.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataSetError(f"{report}: no readable metrics.json; evaluate it again") from error
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


def split_data(
    data: Path,
    out: Path,
    *,
    folds: int = 4,
    test_share: float = 0.2,
    seed: int = 0,
    console: Console | None = None,
) -> tuple[Split, Index]:
    """Look at every file, then write a split that tears no group and leaves bad files out.

    Excluded: radiographs that cannot be decoded, and duplicates whose labels contradict each
    other. Raises SplitError if the split cannot be made, would leak, or cannot be written; what can
    be told of the last before anything is decoded, as OutputError.
    """
    refuse_unwritable(out)
    index, facts, duplicates = _looked_at(data, console or Console())
    excluded = {file.id: file.problem for file in facts if not file.decoded}
    excluded |= {i: "conflicting-duplicate" for _, ids in duplicates.opposite for i in ids}
    pairs = duplicates.pairs()
    split = make_split(
        index,
        pairs,
        folds=folds,
        test_share=test_share,
        seed=seed,
        excluded=excluded,
        name=out.stem,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    write_split(split, out, index=index, duplicates=pairs)
    return split, index


def check(name: str | Path, data: Path, *, console: Console | None = None):
    """Leaks of a split on a data set, the ids that it names and that are absent, and whether
    nobody says what is of one patient or exam."""
    split = load_split(name)
    index, _, duplicates = _looked_at(data, console or Console())
    leaks = check_split(split, index, duplicates.pairs())
    return leaks, absent(split, index), nothing_binds(split, index)


def _looked_at(data: Path, console: Console) -> tuple[Index, list[FileFacts], Duplicates]:
    """A data set with the groups that its files tell of besides, their facts, and duplicates."""
    index = load_index(data)
    with console.decoding("looking at every file") as progress:
        facts = inspect_files(index, progress=progress)
    labels = {record.id: record.label for record in index.records}
    bonds = bonds_of_tags({file.id: file.whose for file in facts})
    for line in bonds.told():
        console.say(line)
    return bonds.bound(index), facts, find_duplicates(facts, labels)


def resume(
    run: Path, data: Path | None, language: str, console: Console, *, report: bool = True
) -> Trained:
    """Go on with a run that was stopped, with its own settings, split and fold.

    data: where the data set is now, if it was moved. report: as for `train`.
    Raises TrainingError if there is no such run, or it is finished.
    """
    try:
        before = json.loads((run / "run.json").read_text(encoding="utf-8"))
        fold, settings = before["fold"], before["settings"]
        name, place = before["split"], Path(before["data"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            f"{run}: not a training run of this kirik (no usable run.json in it)"
        ) from error
    reported = not report or fold is None or (run / "report" / "report.html").is_file()
    if (run / "bundle").is_dir() and reported:
        raise TrainingError(f"{run}: this run is finished; its bundle is {run / 'bundle'}")
    shutil.rmtree(run / "bundle", ignore_errors=True)
    return train(
        data or place,
        TrainingSettings.parse(settings, where=str(run / "run.json")),
        run,
        split=Split(name, load_split(run / "split.csv").assignments),
        fold=fold,
        resume=True,
        report=report,
        language=language,
        console=console,
    )
