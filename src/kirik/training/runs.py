"""Finished training runs that another run builds on: its teacher, or where its weights start."""

import json
from collections.abc import Collection
from pathlib import Path

from kirik.dataset.split import Split, load_split
from kirik.errors import SettingsError


def is_run(folder: Path) -> bool:
    """Whether a folder is a training run, or a cross-validated one with runs in it."""
    return (folder / "run.json").is_file() or any(folder.glob("*/run.json"))


def built_as_timms(run: Path) -> bool:
    """Whether a run's network is built as timm builds it for its own weights, since it began with
    them, or with a run that did: the same weights say other things in other layers."""
    facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
    return facts.get("built_as_timms", facts["settings"]["weights"] == "hub")


def find_run(
    folder: Path,
    fold: int | None,
    option: str,
    split_sha256: str,
    held_out: Collection[str] = (),
) -> Path:
    """The run in a folder that a network for this fold may build on.

    Of a cross-validated folder, the run that never saw the fold, or, of another split that has no
    such fold, the run `all`, or the first fold's; where none is left out, one of the last two.
    option: the flag that named the folder, for the message. split_sha256: the digest of this
    network's split. held_out: ids of what this network is measured on.
    Raises SettingsError if there is none, or it was trained on the fold, or, of another split, by
    their ids on radiographs that are held out. A run of another data set may be built on.
    """
    run = folder if (folder / "run.json").is_file() else _within(folder, fold)
    try:
        facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
        its_fold, its_split = facts["fold"], facts["split_sha256"]
    except (OSError, ValueError, KeyError) as error:
        raise SettingsError(
            f"{folder}: neither a training run, nor a cross-validated one with {run.name} in it; "
            f"name another {option}"
        ) from error
    if its_split == split_sha256:
        if fold is not None and its_fold != fold:
            raise SettingsError(
                f"{run}: was trained on fold {fold}, which is to be left out: what it learned "
                f"would leak it; for {option} take a run that left fold {fold} out"
            )
        return run
    if seen := trained_on(load_split(run / "split.csv"), its_fold, held_out):
        its = left_out_part(fold)
        raise SettingsError(
            f"{run}: was trained on another split, {facts.get('split')}, and by their ids on "
            f"radiographs of this one's {its} ({seen[0]}, {len(seen)} in all): what it learned "
            f"would leak them; for {option} take a run of the same split"
        )
    return run


def _within(folder: Path, fold: int | None) -> Path:
    """Where the run lies in a cross-validated folder."""
    names = ["all", *sorted(one.name for one in folder.glob("fold*"))]
    names = names if fold is None else [f"fold{fold}", *names]
    return next((folder / name for name in names if (folder / name).is_dir()), folder / names[0])


def left_out_part(fold: int | None) -> str:
    """What a network is measured on, in words."""
    return "test part" if fold is None else f"fold {fold} or test part"


def trained_on(split: Split, left_out: int | None, ids: Collection[str]) -> list[str]:
    """Those of these radiographs that a run on a split which left out a fold trained on."""
    assignments = split.assignments
    own = [assignments[one] for one in sorted(ids) if one in assignments]
    trained = [one for one in own if one.split == "dev"]
    return [one.image_id for one in trained if left_out is None or one.fold != left_out]
