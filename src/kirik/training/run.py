"""A training run: its folder, its data, and the trained network that comes out of it.

run.json               settings, split, the data's hash, versions: what is needed to resume
settings.toml          the settings alone, for another run's --settings
split.csv              the split as it was used
history.csv            one row per epoch
checkpoints/           last.safetensors (everything) and best.safetensors (the kept weights)
"""

import csv
import hashlib
import io
import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

from kirik.bundle import WIDE, Bundle, load_bundle
from kirik.dataset.cache import Cache, Progress, data_hash, open_cache
from kirik.dataset.check import torn_groups
from kirik.dataset.index import Index, Record
from kirik.dataset.split import Split, write_split
from kirik.errors import DataSetError, SettingsError, SplitError, TrainingError
from kirik.preprocessing import Preprocessing
from kirik.training.attributes import attribute_names, attribute_table
from kirik.training.checkpoint import load_checkpoint
from kirik.training.data import Part, evaluation_batches, hold_out
from kirik.training.distil import Teacher
from kirik.training.loop import State, StepReport, Trainer, predict_logits
from kirik.training.machine import Machine, find_machine
from kirik.training.networks import FractureNetwork, find_network
from kirik.training.patches import STRIDE, PatchPart, evidence_maps, patch_part
from kirik.training.runs import built_as_timms, find_run, is_run
from kirik.training.scope import fit_scope
from kirik.training.settings import TrainingSettings
from kirik.training.weights import build_network

PACKAGES = (
    *("kirik", "torch", "torchvision", "timm", "onnx", "onnxscript", "onnxruntime", "safetensors"),
    *("numpy", "scipy", "scikit-learn", "pillow", "pydicom"),
)


@dataclass(frozen=True)
class TrainedNetwork:
    """What a run hands on.

    validation: what it said of the held-out radiographs, on which calibration and operating
        points are chosen; None without any.
    radiographs: uint8 [m, 1, size, size], some of the data set's, to check the export.
    attributes: names of what it tells apart beside the classes.
    unreadable: id → why a radiograph of the training part was left out.
    """

    network: FractureNetwork
    preprocessing: Preprocessing
    validation: "Validated | None"
    radiographs: np.ndarray
    attributes: tuple[str, ...]
    provenance: dict
    unreadable: dict[str, str]


@dataclass(frozen=True)
class Validated:
    """A network's output for held-out radiographs, and the truth.

    logits: [n, classes]. labels: [n]. evidence: maps in 0…1 [n, s, s], or None. masks: uint8
    [n, size / 4, size / 4]. marked: bool [n], whose mask is known. strangeness: [n].
    """

    logits: np.ndarray
    labels: np.ndarray
    evidence: np.ndarray | None
    masks: np.ndarray
    marked: np.ndarray
    strangeness: np.ndarray


def resolve(settings: TrainingSettings) -> TrainingSettings:
    """Fill in the network's own defaults where the settings leave them open."""
    network = find_network(settings.network)
    own = {key: getattr(network, key) for key in ("size", "epochs", "learning_rate")}
    return settings.model_copy(
        update={key: value for key, value in own.items() if getattr(settings, key) is None}
    )


def train_network(
    index: Index,
    records: Sequence[Record],
    split: Split,
    settings: TrainingSettings,
    directory: Path,
    *,
    fold: int | None = None,
    resume: bool = False,
    decoding: Progress | None = None,
    report: StepReport = lambda *_: None,
    after_epoch=lambda _: None,
) -> tuple[TrainedNetwork | None, Machine]:
    """Train on the records and return the best network; None in all processes but the first.

    settings: resolved. directory: the run's folder, new unless `resume`.
    Raises DataSetError, SettingsError, SplitError or TrainingError in the user's words.
    """
    machine = find_machine(settings)
    _refuse_leaks(split, index)  # before a folder is made that would be in the mended split's way
    if machine.first and not resume:
        _refuse_existing(directory)
    checkpoints = directory / "checkpoints"
    resuming = resume and (checkpoints / "last.safetensors").is_file()
    # Before anything is decoded, so that wrong weights are refused at once. A resumed run's are
    # in its checkpoint: the starting ones may be gone by then.
    attributes = () if settings.overview else attribute_names(records)
    overview = _overview(index, settings, fold, split)
    start = None if resuming else _start(settings, fold, split)
    timms = built_as_timms(start or directory) if start or resuming else settings.weights == "hub"
    network = _network(
        index, records, settings, len(attributes), start, timms=timms, load=not resuming
    )
    wide = WIDE if settings.overview else 1
    cache = _shared_cache(
        index.records, Preprocessing(size=wide * settings.size), machine, decoding
    )
    part = _part(index, records, split, cache, attributes)
    facts = _facts(index, cache, part, split, fold, settings)
    facts |= {"labels_sha256": labels_hash(records, index.classes)}
    facts |= {"built_as_timms": timms, "trained_on": len(part)}
    if overview:
        part = _patches(part, index, overview, settings, machine, cache.ids)
    train, validation = part, None
    if settings.validation:
        train, validation = hold_out(part, settings.validation, settings.seed, index.classes)
    unreadable = {r.id: cache.failures[r.id] for r in records if r.id in cache.failures}
    chosen_on = len(validation) if validation else 0
    facts["trained_on"] -= chosen_on
    facts |= {"chosen_on": chosen_on, "unreadable": len(unreadable)}
    teacher = None
    if settings.teacher:
        teacher = Teacher(
            _find_run(settings.teacher, fold, "--teacher", split),
            index.classes,
            machine,
            closer=bool(settings.overview),
        )
    trainer = Trainer(network, train, validation, settings, machine, checkpoints, teacher)
    if machine.first:
        _prepare(directory, index.root, facts, split, settings, resume)
    if resuming:
        trainer.resume()

    def conclude(state: State) -> None:
        if machine.first:
            write_history(directory / "history.csv", state.history)
            after_epoch(state)

    if trainer.state.history:
        conclude(trainer.state)
    trainer.fit(report, conclude)
    machine.leave()
    if not machine.first:
        return None, machine
    return _trained(trainer, attributes, facts, unreadable), machine


def _overview(
    index: Index, settings: TrainingSettings, fold: int | None, split: Split
) -> Bundle | None:
    """The bundle of the run that sees the whole radiograph, where this one is to look closer."""
    if not settings.overview:
        return None
    if index.negative is None or len(index.classes) != 2:
        raise SettingsError("--overview needs two classes, one of which means no fracture")
    if settings.validation:
        raise SettingsError(
            "--overview needs --validation 0, as kirik crossval has it: what is chosen for the "
            "model is chosen on whole radiographs that neither network saw"
        )
    if not settings.masks:
        raise SettingsError("--overview needs --masks: patches lie around outlined fractures")
    run = _find_run(settings.overview, fold, "--overview", split)
    overview = load_bundle(run)
    if overview.manifest.evidence is None or overview.manifest.classes != index.classes:
        raise SettingsError(
            f"{run}: its network has no evidence map, or other classes; name another --overview"
        )
    if overview.manifest.kind == "cascade":
        raise SettingsError(
            f"{run}: is two networks already, one of which looks closer; name as --overview the "
            "run that its first one is of"
        )
    return overview


def _patches(
    part: Part,
    index: Index,
    overview: Bundle,
    settings: TrainingSettings,
    machine: Machine,
    ids: tuple[str | None, ...],
) -> PatchPart:
    """The patches that the network learns from, around fractures and where the overview looks.

    ids: of the cache that the part's rows are of.
    """
    cache = _shared_cache(index.records, overview.manifest.preprocessing, machine, None)
    if cache.ids != ids:  # a file that could be read at one of two times
        before, now = (sum(one is not None for one in read) for read in (ids, cache.ids))
        raise DataSetError(
            f"{index.root}: {before} radiographs could be read before, {now} now; what could not "
            "is tried again in a few minutes: train again then"
        )
    maps = evidence_maps(overview, cache, part, WIDE * settings.size // STRIDE)
    patches = patch_part(part, maps, settings.size, index.negative, settings.seed)
    if len(np.unique(patches.labels)) < 2:
        raise DataSetError(f"{index.root}: no outlined fracture to look closer at")
    return patches


def _start(settings: TrainingSettings, fold: int | None, split: Split) -> Path | None:
    """The run whose weights this one begins with; None where it begins with others."""
    is_one = is_run(Path(settings.weights).expanduser())
    return _find_run(settings.weights, fold, "--weights", split) if is_one else None


def _find_run(folder: str, fold: int | None, option: str, split: Split) -> Path:
    held_out = {one.image_id for one in split.part("test")}
    return find_run(Path(folder).expanduser(), fold, option, split.digest, held_out)


def _network(
    index: Index,
    records: Sequence[Record],
    settings: TrainingSettings,
    attributes: int,
    start: Path | None,
    *,
    timms: bool,
    load: bool,
) -> FractureNetwork:
    """start: the run whose weights it begins with, if any. timms: see `built_as_timms`."""
    torch.manual_seed(settings.seed)
    network = build_network(
        settings.network,
        classes=len(index.classes),
        negative=index.negative,
        size=settings.size,
        weights="hub" if timms else "none" if start else settings.weights,
        load=load and not start,
        dropout=settings.dropout,
        evidence=settings.masks and any(record.boxes or record.polygons for record in records),
        attributes=attributes,
    )
    if start:
        try:
            load_checkpoint(start / "checkpoints" / "best.safetensors", {"network": network})
        except TrainingError as error:
            raise SettingsError(
                f"{start}: its weights do not fit {settings.network} ({error})"
            ) from error
    network.freeze(settings.freeze)
    return network


def _shared_cache(
    records: Sequence[Record], preprocessing: Preprocessing, machine: Machine, decoding
) -> Cache:
    """The cache of the whole data set, so that all folds share it; the first process makes it."""
    if machine.first:
        open_cache(records, preprocessing, progress=decoding)
    machine.wait()
    return open_cache(records, preprocessing)


def _part(
    index: Index, records: Sequence[Record], split: Split, cache: Cache, attributes: Sequence[str]
) -> Part:
    """The records that could be read, as arrays. A fracture without an outline teaches no map."""
    rows = cache.rows([record.id for record in records])
    chosen = [index.by_id[cache.ids[row]] for row in rows]
    if not chosen:
        raise DataSetError(f"{index.root}: none of the radiographs to train on can be read")
    labels = np.array([record.label for record in chosen])
    if len(np.unique(labels)) < 2:
        raise DataSetError(
            f"{index.root}: only one class ({index.classes[labels[0]]}) among the radiographs to "
            "train on; a classifier needs two"
        )
    # Not what the data set says: a box outside its radiograph is in no mask.
    outlined = np.isfinite(cache.outlines[rows]).any(axis=(1, 2, 3))
    negative = -1 if index.negative is None else index.negative
    groups = np.array([split.assignments[record.id].group for record in chosen])
    return Part(
        cache.images,
        cache.masks,
        cache.outlines,
        rows,
        labels,
        groups,
        outlined | (labels == negative),
        attribute_table(chosen, attributes),
    )


def _facts(
    index: Index, cache: Cache, part: Part, split: Split, fold: int | None, settings
) -> dict:
    """What a run is repeated from; it goes into the bundle, so no path is in it but the weights'
    file name."""
    chosen = [index.by_id[cache.ids[row]] for row in part.rows]
    return {
        "settings": settings.model_dump(),
        "split": split.name,
        "split_sha256": split.digest,
        "fold": fold,
        "classes": list(index.classes),
        "data_sha256": data_hash(cache, chosen, index.classes),
        "versions": versions(),
    }


def labels_hash(records: Sequence[Record], classes: Sequence[str]) -> str:
    """One SHA-256 of what is known of these records without a look into their files: ids, names of
    their classes, boxes and outlines. So a change of labels is told before anything is decoded."""
    lines = [
        f"{one.id} {classes[one.label]} {json.dumps((one.boxes, one.polygons))}" for one in records
    ]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a run's result depends on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _refuse_leaks(split: Split, index: Index) -> None:
    leaks = torn_groups(split, index)
    if leaks:
        raise SplitError(
            f"split {split.name} leaks: {leaks[0]}; mend it (kirik data check-split names every "
            "leak), or make one with kirik data split"
        )


def _refuse_existing(directory: Path) -> None:
    try:
        taken = directory.exists() and (not directory.is_dir() or any(directory.iterdir()))
    except OSError as error:
        raise SettingsError(f"{directory}: cannot be looked into ({error.strerror})") from error
    if taken:
        raise SettingsError(
            f"{directory}: already exists; go on with --resume {directory}, "
            "or name another folder with --out"
        )


def _prepare(
    directory: Path,
    root: Path,
    facts: dict,
    split: Split,
    settings: TrainingSettings,
    resume: bool,
) -> None:
    """Make the run's folder, or check that a resumed run goes on with the same data."""
    record = directory / "run.json"
    if resume:
        before = json.loads(record.read_text(encoding="utf-8"))
        # Their order, too: which class comes first may be another kirik's choice.
        same_classes = before.get("classes", facts["classes"]) == facts["classes"]
        if before.get("data_sha256") != facts["data_sha256"] or not same_classes:
            raise TrainingError(
                f"{directory}: the data set, or what its classes mean, has changed since the run "
                "began; start a new run"
            )
        return
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "settings.toml").write_text(to_toml(settings), encoding="utf-8")
        write_split(split, directory / "split.csv")
        where = {"data": str(root.absolute())}
        replace_file(record, json.dumps(where | facts, indent=2) + "\n")
    except OSError as error:
        raise SettingsError(
            f"{directory}: cannot write the run ({error.strerror}); make room, or name another "
            "folder with --out"
        ) from error


def to_toml(settings: TrainingSettings, without: Sequence[str] = ()) -> str:
    """The settings as TOML, whose simple values are written as JSON's are."""
    values = settings.model_dump(exclude_none=True, exclude=set(without))
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())


def write_history(path: Path, history: list[dict]) -> None:
    """Write one row per epoch, replacing the file in one step."""
    text = io.StringIO()
    table = csv.DictWriter(text, fieldnames=list(history[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(history)
    try:
        replace_file(path, text.getvalue())
    except OSError as error:
        raise TrainingError(
            f"{path}: cannot be written ({error.strerror}); make room, then go on with --resume"
        ) from error


def replace_file(path: Path, text: str) -> None:
    """Write a text whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _trained(
    trainer: Trainer,
    attributes: tuple[str, ...],
    facts: dict,
    unreadable: dict[str, str],
) -> TrainedNetwork:
    network, state, held_out = trainer.averaged, trainer.state, trainer.validation
    part = trainer.train_part.plain()
    # Of a cascade, the first network tells what is in scope.
    if trainer.settings.scope and not trainer.settings.overview:
        fit_scope(network, part, trainer.machine, trainer.settings.seed)
    some = (held_out or part).rows[:32]
    return TrainedNetwork(
        network,
        Preprocessing(size=network.size),
        _validated(trainer, held_out) if held_out else None,
        np.array(part.images[some])[:, None],
        attributes,
        {**facts, "best_epoch": state.best_epoch, "epochs": state.epoch},
        unreadable,
    )


def _validated(trainer: Trainer, validation: Part) -> Validated:
    # What is chosen on these is used with the exported graph, which computes in float32.
    machine = replace(trainer.machine, precision=torch.float32)
    network = trainer.averaged.eval()  # without averaging it is the one that trained
    maps, strangeness = [], []
    with torch.inference_mode():
        for images, _ in evaluation_batches(validation, 64):
            output = network(images.to(machine.device))
            strangeness.append(output.strangeness.cpu().numpy())
            if output.evidence is not None:
                maps.append(output.evidence.sigmoid()[:, 0].cpu().numpy())
    return Validated(
        predict_logits(network, validation, machine).numpy(),
        validation.labels,
        np.concatenate(maps) if maps else None,
        np.array(validation.masks[validation.rows]),
        validation.marked,
        np.concatenate(strangeness),
    )


def choose_evidence_threshold(evidence: np.ndarray, masks: np.ndarray, marked: np.ndarray) -> float:
    """The score from which a cell counts as fractured: the one with the best Dice overlap.

    evidence: [n, s, s] in 0…1; masks: uint8 [n, t, t], t a multiple of s; marked: bool [n], the
    radiographs whose mask is known.
    """
    evidence, masks = evidence[marked], masks[marked]
    factor = masks.shape[-1] // evidence.shape[-1]
    count, side = len(evidence), evidence.shape[-1]
    truth = masks.reshape(count, side, factor, side, factor).mean(axis=(2, 4)) > 127
    if not truth.any():
        return 0.5
    candidates = np.arange(0.1, 0.91, 0.05)
    found = (evidence >= threshold for threshold in candidates)
    dice = [2 * (cells & truth).sum() / (cells.sum() + truth.sum()) for cells in found]
    return float(round(candidates[int(np.argmax(dice))], 2))
