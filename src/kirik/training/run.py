"""A training run: its folder, its data, and the trained network that comes out of it.

run.json               settings, split, the data's hash, versions, which radiographs could not be
                       read: what is needed to resume
settings.toml          the settings alone, for another run's --settings
split.csv              the split as it was used
trained-on.txt         the SHA-256 of each file that was trained on
history.csv            one row per epoch
checkpoints/           last.safetensors (everything) and best.safetensors (the kept weights)
"""

import csv
import hashlib
import io
import json
import platform
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

from kirik.bundle import WIDE, Bundle
from kirik.dataset.cache import Cache, Progress, data_hash, hash_of, open_cache
from kirik.dataset.check import groups_of, torn_groups
from kirik.dataset.index import Index, Record
from kirik.dataset.split import Split, write_split
from kirik.errors import DataSetError, SettingsError, SplitError, TrainingError
from kirik.files import read_file
from kirik.preprocessing import Preprocessing
from kirik.radiograph import DEFAULT_LIMITS
from kirik.training.attributes import attribute_names, attribute_table
from kirik.training.built_on import (
    TRAINED_ON,
    changed_since,
    digests_of,
    held_out_hash,
    overview_of,
    refuse_other_held_out,
    refuse_same_files,
    start_of,
    teacher_of,
)
from kirik.training.checkpoint import load_start
from kirik.training.data import Part, hold_out
from kirik.training.loop import State, StepReport, Trainer
from kirik.training.machine import Machine, find_machine
from kirik.training.networks import FractureNetwork, find_network
from kirik.training.patches import STRIDE, PatchPart, evidence_maps, patch_part
from kirik.training.runs import built_as_timms
from kirik.training.scope import fit_scope
from kirik.training.settings import TrainingSettings
from kirik.training.validated import Validated, validated
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
    validation: Validated | None
    radiographs: np.ndarray
    attributes: tuple[str, ...]
    provenance: dict
    unreadable: dict[str, str]


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
    say: Callable[[str], None] = lambda _: None,
) -> tuple[TrainedNetwork | None, Machine]:
    """Train on the records and return the best network; None in all processes but the first.

    settings: resolved. directory: the run's folder, new unless `resume`. say: takes a line for
        the user.
    Raises DataSetError, SettingsError, SplitError or TrainingError in the user's words.
    """
    machine = find_machine(settings)
    _refuse_leaks(split, index)  # before a folder is made that would be in the mended split's way
    if machine.first and not resume:
        _refuse_existing(directory, to_toml(settings))
    checkpoints = directory / "checkpoints"
    resuming = resume and (checkpoints / "last.safetensors").is_file()
    # Before anything is decoded, so that wrong weights are refused at once. A resumed run's are
    # in its checkpoint: the starting ones may be gone by then.
    attributes = () if settings.overview else attribute_names(records)
    overview = overview_of(index, settings, fold, split)
    start = None if resuming else start_of(index, settings, fold, split)
    timms = built_as_timms(start or directory) if start or resuming else settings.weights == "hub"
    network = _network(
        index, records, settings, len(attributes), timms=timms, load=not (start or resuming)
    )
    anew = _begin_with(start, network, settings.network, index, attributes) if start else []
    if anew and machine.first:
        say(f"{start}: its network tells other things apart; begun anew: {', '.join(anew)}")
    network.freeze(settings.freeze)
    size = (WIDE if overview else 1) * settings.size
    cache = _shared_cache(index.records, Preprocessing(size=size), machine, decoding)
    hashes = {one: digest for one, digest in zip(cache.ids, cache.hashes, strict=True) if one}
    refuse_same_files(hashes, settings, fold, split)
    left_out = _left_out(directory, resume, records, cache.failures)
    readable = [record for record in records if record.id not in left_out]
    part = _part(index, readable, split, cache, attributes)
    facts = _facts(index, cache, part, split, fold, settings)
    facts |= {"labels_sha256": labels_hash(records, index.classes), "built_as_timms": timms}
    facts |= {"attributes": list(attributes)}
    facts |= {"trained_on": len(part), "chosen_on": 0, "unreadable": len(left_out)}
    train, validation = part, None
    if overview:
        train = _patches(part, index, overview, settings, machine)
    elif settings.validation:
        train, validation = hold_out(part, settings.validation, settings.seed, index.classes)
        held_out = [cache.ids[row] for row in validation.rows]
        refuse_other_held_out(held_out, settings, fold, split)
        facts |= {"trained_on": len(train), "chosen_on": len(validation)}
        facts |= {"held_out_sha256": held_out_hash(held_out)}
    teacher = teacher_of(index, settings, fold, split, machine)
    facts |= {"built_on": digests_of(settings, fold, split)}
    trainer = Trainer(network, train, validation, settings, machine, checkpoints, teacher)
    if machine.first:
        files = [cache.hashes[row] for row in part.rows]
        _prepare(directory, index.root, facts, left_out, files, split, settings, resume)
    if resuming:
        trainer.resume()
    _fit(trainer, directory, report, after_epoch)
    if not machine.first:
        return None, machine
    return _trained(trainer, attributes, facts, left_out), machine


def _fit(trainer: Trainer, directory: Path, report: StepReport, after_epoch) -> None:
    """Train to the end, with the history kept after each epoch."""

    def conclude(state: State) -> None:
        if trainer.machine.first:
            write_history(directory / "history.csv", state.history)
            after_epoch(state)

    if trainer.state.history:  # of a run that goes on
        conclude(trainer.state)
    trainer.fit(report, conclude)
    trainer.machine.leave()


def _patches(
    part: Part, index: Index, overview: Bundle, settings: TrainingSettings, machine: Machine
) -> PatchPart:
    """The patches that the network learns from, around fractures and where the overview looks."""
    cache = _shared_cache(index.records, overview.manifest.preprocessing, machine, None)
    ids = [index.records[row].id for row in part.rows]
    _refuse_lost(index.root, [cache.failures[one] for one in ids if one in cache.failures])
    maps = evidence_maps(overview, cache, part, WIDE * settings.size // STRIDE)
    patches = patch_part(part, maps, settings.size, index.negative, settings.seed)
    if len(np.unique(patches.labels)) < 2:
        raise DataSetError(f"{index.root}: no outlined fracture to look closer at")
    return patches


def _network(
    index: Index,
    records: Sequence[Record],
    settings: TrainingSettings,
    attributes: int,
    *,
    timms: bool,
    load: bool,
) -> FractureNetwork:
    """timms: see `built_as_timms`. load: whether the settings' weights are read, as they are where
    it begins with no run's."""
    torch.manual_seed(settings.seed)
    return build_network(
        settings.network,
        classes=len(index.classes),
        negative=index.negative,
        size=settings.size,
        weights="hub" if timms else settings.weights if load else "none",
        load=load,
        dropout=settings.dropout,
        evidence=settings.masks and any(record.boxes or record.polygons for record in records),
        attributes=attributes,
    )


def _begin_with(
    start: Path, network: FractureNetwork, name: str, index: Index, attributes: Sequence[str]
) -> list[str]:
    """Load the weights of a run; returns the parts of the network that begin anew, as the run told
    other things apart by them. name: the network's. Raises SettingsError if it is of another."""
    its = _begun(start)
    told = {"head": ("classes", [*index.classes]), "attributes": ("attributes", [*attributes])}
    # Older kiriks did not note these.
    anew = [part for part, (fact, own) in told.items() if its.get(fact, own) != own]
    try:
        return load_start(start / "checkpoints" / "best.safetensors", network, anew)
    except TrainingError as error:
        raise SettingsError(f"{start}: its weights do not fit {name} ({error})") from error


def _shared_cache(
    records: Sequence[Record], preprocessing: Preprocessing, machine: Machine, decoding
) -> Cache:
    """The cache of the whole data set, so that all folds share it; the first process makes it."""
    if machine.first:
        open_cache(records, preprocessing, progress=decoding)
    machine.wait()
    return open_cache(records, preprocessing)


def _left_out(
    directory: Path, resume: bool, records: Sequence[Record], failures: dict[str, str]
) -> dict[str, str]:
    """Id → why a radiograph of the training part is left out: it cannot be read, or, of a run that
    goes on, it could not when that began."""
    unreadable = {one.id: failures[one.id] for one in records if one.id in failures}
    if not resume:
        return unreadable
    before = _begun(directory)
    if "left_out" not in before:  # of a kirik that did not note which
        count = before.get("unreadable", len(unreadable))
        if count != len(unreadable):
            raise TrainingError(
                f"{directory}: {count} radiographs could not be read when the run began, "
                f"{len(unreadable)} cannot now, and it is not noted which; start a new run"
            )
        return unreadable
    left_out = before["left_out"]
    _refuse_lost(directory, [why for one, why in unreadable.items() if one not in left_out])
    return {
        one: unreadable.get(one, f"{one}: could not be read when the run began; left out still")
        for one in left_out
    }


def _refuse_lost(where: Path, reasons: Sequence[str]) -> None:
    """Raise DataSetError if there are reasons why radiographs that were read cannot be any more."""
    if reasons:
        raise DataSetError(
            f"{where}: {len(reasons)} of the radiographs that could be read before cannot be read "
            f"now; first: {reasons[0]}; once that is mended, do the same again in a few minutes"
        )


def _begun(directory: Path) -> dict:
    """What a run's record says of how it was begun."""
    return json.loads((directory / "run.json").read_text(encoding="utf-8"))


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
    group_of = groups_of(split, index)
    groups = np.array([group_of[record.id] for record in chosen])
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


def files_hash(
    records: Sequence[Record], classes: Sequence[str], known: MutableMapping[str, str]
) -> str:
    """The `data_hash` of records as their files are now. known: SHA-256 of files by id, which are
    not read again; those that are read are entered."""
    for record in records:
        if record.id not in known:
            content = read_file(record.path, DEFAULT_LIMITS.file_bytes)
            known[record.id] = hashlib.sha256(content).hexdigest()
    return hash_of(known, records, classes)


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


def _refuse_existing(directory: Path, settings: str) -> None:
    """Unless nothing is there, or no more than the start of a run with these settings left that
    was interrupted before its `run.json` was there."""
    try:
        taken = directory.exists() and not (
            directory.is_dir() and all(_is_of_a_start(one, settings) for one in directory.iterdir())
        )
    except OSError as error:
        raise SettingsError(f"{directory}: cannot be looked into ({error.strerror})") from error
    if taken:
        raise SettingsError(
            f"{directory}: already exists; go on with --resume {directory}, "
            "or name another folder with --out"
        )


def _is_of_a_start(path: Path, settings: str) -> bool:
    """Whether a file is one that a run writes before its `run.json`, or a draft of one."""
    if path.name == "settings.toml":  # which may have been cut off; another's is not replaced
        return settings.startswith(path.read_text(encoding="utf-8"))
    names = ("run.partial", TRAINED_ON)
    return path.is_file() and (path.name in names or path.name.startswith("split.csv"))


def _prepare(
    directory: Path,
    root: Path,
    facts: dict,
    left_out: dict[str, str],
    files: Sequence[str],
    split: Split,
    settings: TrainingSettings,
    resume: bool,
) -> None:
    """Make the run's folder, or check that a resumed run goes on with the same data. files: SHA-256
    of those that train."""
    if resume:
        before = _begun(directory)
        # The classes in their order, too: which comes first may be another kirik's choice. Older
        # ones did not note them, nor who is held out.
        later = ("classes", "held_out_sha256")
        same = all(before.get(name, facts.get(name)) == facts.get(name) for name in later)
        if before.get("data_sha256") != facts["data_sha256"] or not same:
            raise TrainingError(
                f"{directory}: the data set, its groups, or what its classes mean, has changed "
                "since the run began; start a new run"
            )
        if option := changed_since(before, facts["built_on"]):
            raise TrainingError(
                f"{directory}: was begun with another --{option} than lies there now; put that "
                "back, or start a new run"
            )
        return
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "settings.toml").write_text(to_toml(settings), encoding="utf-8")
        write_split(split, directory / "split.csv")
        (directory / TRAINED_ON).write_text("\n".join(sorted(files)) + "\n", encoding="utf-8")
        # Beside the facts, since it names patients' files: the facts go into the bundle.
        own = {"data": str(root.absolute()), "left_out": left_out}
        replace_file(directory / "run.json", json.dumps(own | facts, indent=2) + "\n")
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
        validated(trainer, held_out) if held_out else None,
        np.array(part.images[some])[:, None],
        attributes,
        {**facts, "best_epoch": state.best_epoch, "epochs": state.epoch},
        unreadable,
    )
