"""The finished runs that a training builds on: its overview, its start, and its teacher."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from kirik.bundle import Bundle, load_bundle
from kirik.dataset.index import Index
from kirik.dataset.split import Split, load_split
from kirik.errors import KirikError, SettingsError
from kirik.training.distil import Teacher
from kirik.training.machine import Machine
from kirik.training.runs import find_run, is_run, left_out_part, trained_on
from kirik.training.settings import PLACES, TrainingSettings

TRAINED_ON = "trained-on.txt"
"""In a run's folder: the SHA-256 of each file that it learned from, or chose with."""


def overview_of(
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
    run = find_built_on(settings.overview, fold, "--overview", split)
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


def start_of(
    index: Index, settings: TrainingSettings, fold: int | None, split: Split
) -> Path | None:
    """The run whose weights this one begins with; None where it begins with others.

    Raises SettingsError if it knows radiographs that are left out, or held out to choose with.
    """
    if not is_run(Path(settings.weights).expanduser()):
        return None
    run = find_built_on(settings.weights, fold, "--weights", split)
    _refuse_known(run, "--weights", index, settings, fold, split)
    return run


def teacher_of(
    index: Index, settings: TrainingSettings, fold: int | None, split: Split, machine: Machine
) -> Teacher | None:
    """The run that this one learns from besides the labels, if any.

    Raises SettingsError if it knows radiographs that are left out, or held out to choose with.
    """
    if not settings.teacher:
        return None
    run = find_built_on(settings.teacher, fold, "--teacher", split)
    _refuse_known(run, "--teacher", index, settings, fold, split)
    return Teacher(run, index.classes, machine, closer=bool(settings.overview))


def find_built_on(folder: str, fold: int | None, option: str, split: Split) -> Path:
    """The run in a folder that a training without that fold may build on. Raises SettingsError if
    there is none, it knows radiographs of the fold or the test part, or it has not come to its
    end."""
    held_out = _measured_on(split, fold)
    run = find_run(Path(folder).expanduser(), fold, option, split.digest, held_out)
    for one, facts in _of_other_splits(run, split, fold):
        if seen := trained_on(load_split(one / "split.csv"), facts["fold"], held_out):
            raise SettingsError(
                f"{run}: builds on {one}, which was trained on radiographs of this split's "
                f"{left_out_part(fold)} ({seen[0]}, {len(seen)} in all): what it learned would "
                f"leak them; name another {option}"
            )
    if not (run / "bundle").is_dir():
        raise SettingsError(
            f"{run}: its training has not come to its end; let it (kirik train --resume {run}), "
            f"or name another {option}"
        )
    return run


def _measured_on(split: Split, fold: int | None) -> set[str]:
    """Ids of what a network that leaves out a fold is, or may be, measured on."""
    parts = ["test"] if fold is None else ["test", f"fold{fold}"]
    return {one.image_id for name in parts for one in split.part(name)}


def _of_other_splits(run: Path, split: Split, fold: int | None) -> Iterator[tuple[Path, dict]]:
    """Of a run's lineage, those that did not leave out the same."""
    for one, facts in _lineage(run):
        if facts["split_sha256"] != split.digest or facts["fold"] != fold:
            yield one, facts


def refuse_same_files(
    hashes: Mapping[str, str], settings: TrainingSettings, fold: int | None, split: Split
) -> None:
    """Refuse a run of another split that learned from the very files that this one is measured on,
    under other ids, as in a copy of the data set. hashes: SHA-256 of files by id. Raises
    SettingsError."""
    held_out = {hashes[one]: one for one in _measured_on(split, fold) if one in hashes}
    for name in PLACES:
        folder = getattr(settings, name)
        if not folder or not is_run(Path(folder).expanduser()):
            continue
        run = find_built_on(folder, fold, f"--{name}", split)
        for one, _ in _of_other_splits(run, split, fold):
            noted = one / TRAINED_ON  # by an older kirik not
            seen = held_out.keys() & set(noted.read_text().split() if noted.is_file() else ())
            if seen:
                first = min(held_out[digest] for digest in seen)
                raise SettingsError(
                    f"{run}: {'' if one == run else f'builds on {one}, which '}was trained on "
                    f"copies of this split's {left_out_part(fold)} ({first}, {len(seen)} in all): "
                    f"what it learned would leak them; name another --{name}"
                )


def digests_of(settings: TrainingSettings, fold: int | None, split: Split) -> dict[str, str]:
    """Which runs a training asks to its end: option → a SHA-256 of its bundle, as another may come
    to lie under its name. What it begins with is in its checkpoint."""
    places = {name: getattr(settings, name) for name in ("overview", "teacher")}
    return {
        name: load_bundle(find_built_on(place, fold, f"--{name}", split)).digest
        for name, place in places.items()
        if place
    }


def changed_since(begun: dict, now: dict[str, str]) -> str | None:
    """The option whose run is not the one that a run was begun with, if any. begun: its facts,
    which by an older kirik do not tell. now: see `digests_of`."""
    before = begun.get("built_on", {})
    return next((name for name in now if before.get(name, now[name]) != now[name]), None)


def _refuse_known(
    run: Path,
    option: str,
    index: Index,
    settings: TrainingSettings,
    fold: int | None,
    split: Split,
) -> None:
    """Refuse a run that knows radiographs which this one holds out to choose with: on these, what
    is chosen (the epoch, the temperature, the operating points) would be chosen too well."""
    from kirik.training.run import labels_hash

    if not settings.validation:
        return
    own = _part(split, fold)
    labels = labels_hash([index.by_id[name] for name, _ in own], index.classes)
    for one, facts in _lineage(run):
        said, its_split = facts.get("settings", {}), load_split(one / "split.csv")
        # What `hold_out` goes by; an older kirik did not note the labels.
        held_out_the_same = (
            _part(its_split, facts["fold"]) == own
            and all(said.get(name) == getattr(settings, name) for name in ("seed", "validation"))
            and facts.get("labels_sha256", labels) == labels
        )
        if held_out_the_same or not trained_on(its_split, facts["fold"], [name for name, _ in own]):
            continue
        _refuse(run, one, option, settings)


def refuse_other_held_out(
    held_out: Sequence[str], settings: TrainingSettings, fold: int | None, split: Split
) -> None:
    """Refuse such a run also once it is known which are held out: which radiographs can be read
    decides, too, and that may have been others when it began. held_out: their ids. Raises
    SettingsError."""
    for option, folder in (("--weights", settings.weights), ("--teacher", settings.teacher)):
        if not folder or not is_run(Path(folder).expanduser()):
            continue
        run = find_built_on(folder, fold, option, split)
        for one, facts in _lineage(run):
            noted = facts.get("held_out_sha256")  # by an older kirik not
            known = trained_on(load_split(one / "split.csv"), facts["fold"], held_out)
            if known and noted and noted != held_out_hash(held_out):
                _refuse(run, one, option, settings)


def held_out_hash(ids: Sequence[str]) -> str:
    """One SHA-256 of the ids of the radiographs that a run holds out."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()


def _refuse(run: Path, one: Path, option: str, settings: TrainingSettings) -> NoReturn:
    raise SettingsError(
        f"{run}: {'' if one == run else f'builds on {one}, which '}was trained on radiographs "
        f"of which --validation {settings.validation:g} holds some out to choose with: what it "
        f"learned would leak them; begin with --validation 0, or for {option} take a run that "
        "held out the same: of the same split, labels, fold, --validation and --seed, with the "
        "same radiographs unreadable"
    )


def _part(split: Split, fold: int | None) -> list[tuple[str, str]]:
    """Ids and groups of what a run on a split trains on and holds out of, in order."""
    name = "dev" if fold is None else f"train{fold}"
    return [(one.image_id, one.group) for one in split.part(name)]


def _lineage(run: Path) -> Iterator[tuple[Path, dict]]:
    """A run with its facts, and those that it built on in their turn, where they still lie."""
    left, seen = [run], set()
    while left:
        one = left.pop()
        if one.resolve() in seen:  # a folder may have been made anew under an older one's name
            continue
        seen.add(one.resolve())
        facts = json.loads((one / "run.json").read_text(encoding="utf-8"))
        yield one, facts
        said = facts.get("settings", {})
        for name in filter(said.get, PLACES):
            try:
                place = Path(said[name]).expanduser()
                if is_run(place):
                    split_sha256 = facts["split_sha256"]
                    left.append(find_run(place, facts["fold"], f"--{name}", split_sha256))
            except (KirikError, OSError, RuntimeError):  # replaced since, or another user's
                continue
