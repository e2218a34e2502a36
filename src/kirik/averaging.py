"""The average of several cross-validated models, measured as honestly as each of them.

What reads a fold is the average of the networks that never saw it, one of each model. They are
pooled as they are, then calibrated together (Rahaman and Thiery, NeurIPS 2021, arXiv:2007.08792):
calibrated before as well, the same few readings would have their say twice. The bundle joins the
models' own bundles.

DIR/members.json       what is averaged: each model's name, and a hash of each of its folds' bundles
DIR/fold1/bundle …     the average that reads the fold
DIR/fold1/read.csv …   what it said of the fold, before the average's own calibration
DIR/report, DIR/bundle as `kirik.crossval` writes them
"""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kirik.bundle import Bundle, load_bundle, model_name, write_bundle
from kirik.card import model_card, with_card
from kirik.console import Console
from kirik.crossval import check_data, facts_of, refuse_run
from kirik.dataset.index import Index
from kirik.dataset.places import refuse_folder
from kirik.dataset.sources import load_index
from kirik.dataset.split import Split
from kirik.drafts import drafting
from kirik.errors import SettingsError
from kirik.evaluation.calibration import Calibration
from kirik.evaluation.metrics import Metrics
from kirik.joining import average_bundles, member_files
from kirik.out_of_fold import Read, choose, concat, read_fold, report_out_of_fold
from kirik.radiograph import Radiograph
from kirik.shipping import (
    DRAFTS,
    Choices,
    costs,
    examples_of,
    rewrite,
    shared_provenance,
    summary_of,
    with_choices,
)
from kirik.trainings import refuse_several_processes

MEMBERS = "members.json"


@dataclass(frozen=True)
class _Model:
    """A cross-validated model: its folder, and its out-of-fold readings."""

    folder: Path
    read: Read

    def bundle(self, fold: int) -> Bundle:
        return load_bundle(self.folder / f"fold{fold}")


def average_cross_validated(
    data: Path,
    runs: Sequence[Path],
    directory: Path,
    *,
    split: Split,
    bootstrap: int = 2000,
    language: str = "en",
    console: Console | None = None,
) -> tuple[Metrics, Path]:
    """Average cross-validated models of one split, measure that out of fold, and bundle it.

    runs: folders that `kirik crossval` finished on this data and split. Calling it again goes on
    where it stopped. Returns the metrics and the bundle's folder.
    Raises SettingsError if torchrun began several processes, there are fewer than two, one was not
    made on this split, or the folder was begun with others, DataSetError if files or labels
    have changed since, OutputError if it cannot be made, or is the data set's own.
    """
    refuse_several_processes("ensemble")
    console = console or Console()
    index = load_index(data)
    refuse_folder(directory, index)
    _check(runs, split, index)
    _begin(directory, runs, split)
    models = []
    for run in runs:
        read = concat([read_fold(run / f"fold{f}", index, split, f, console) for f in split.folds])
        models.append(_Model(run, read))
    examples = examples_of(index, split)
    for fold in split.folds:
        place = directory / f"fold{fold}" / "bundle"
        _average(models, [fold], place, examples, apart=True)
    parts = [read_fold(directory / f"fold{f}", index, split, f, console) for f in split.folds]
    read = concat(parts)
    with drafting(directory / DRAFTS) as folder:
        whole = _joined(models, split.folds, folder / model_name(directory), examples)
        facts = facts_of(
            directory,
            index,
            split,
            network=" + ".join(m.bundle(split.folds[0]).manifest.network for m in models),
            averages=[run.resolve().name for run in runs],
            cost=costs(whole, index, split),
        )
        report = directory / "report"
        metrics = report_out_of_fold(report, read, facts, bootstrap=bootstrap, language=language)
        _finish(directory / "bundle", whole, choose(read), summary_of(metrics))
    return metrics, directory / "bundle"


def _check(runs: Sequence[Path], split: Split, index: Index) -> None:
    if len({run.resolve() for run in runs}) < max(2, len(runs)):
        raise SettingsError("an average needs two different cross-validated models or more")
    if not split.folds:
        raise SettingsError(f"split {split.name} has no folds; name that of the models")
    hashes: dict[str, str] = {}
    for run in runs:
        for fold in split.folds:
            record = run / f"fold{fold}" / "run.json"
            try:
                facts = json.loads(record.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise SettingsError(
                    f"{run}: no finished fold {fold} in it; finish it with kirik crossval"
                ) from error
            if (facts.get("fold"), facts.get("split_sha256")) != (fold, split.digest):
                raise SettingsError(
                    f"{run}: was made on the split {facts.get('split')}, not on {split.name}; "
                    "average models of one split"
                )
            check_data(record.parent, facts, index, split, fold, hashes)


def _begin(directory: Path, runs: Sequence[Path], split: Split) -> None:
    """Note what the folder's average is made of, or refuse to go on with another's."""
    from kirik.training.run import replace_file

    refuse_run(directory)
    own = sorted(
        [run.resolve().name, [load_bundle(run / f"fold{fold}").digest for fold in split.folds]]
        for run in runs
    )
    record, begun, places = directory / MEMBERS, own, sorted(directory.glob("fold*/bundle"))
    if places and record.is_file():
        begun = json.loads(record.read_text(encoding="utf-8"))
    elif places:  # of a kirik that did not note it
        names = load_bundle(places[0]).manifest.members
        ends = f"-{places[0].parent.name}"
        said = dict(own)
        begun = sorted([n, said.get(n)] for n in (name.removesuffix(ends) for name in names))
    if begun != own:
        names = [" and ".join(name for name, _ in those) or "nothing" for those in (begun, own)]
        others = f"not of {names[1]}" if names[0] != names[1] else "whose networks have changed"
        raise SettingsError(
            f"{directory}: was begun as the average of {names[0]}, {others}; "
            "name another folder with --out"
        )
    directory.mkdir(parents=True, exist_ok=True)
    replace_file(record, json.dumps(own, indent=1) + "\n")


def _joined(
    models: Sequence[_Model], folds: Sequence[int], place: Path, examples: Sequence[Radiograph]
) -> Bundle:
    """Write the average of the models as `kirik crossval` finished each: its bundle, or all its
    folds' networks where it was to make none."""
    with tempfile.TemporaryDirectory() as folder:
        own = []
        for number, model in enumerate(models):
            own.append(Path(folder) / str(number) / model_name(model.folder))
            finished = model.folder / "bundle"
            if finished.is_dir():
                _uncalibrated(load_bundle(finished), own[-1], choose(model.read, Calibration()))
            else:
                _average([model], folds, own[-1], examples)
        shared = load_bundle(own[0]).manifest.provenance
        facts = {key: shared[key] for key in ("split", "split_sha256", "data_sha256", "versions")}
        facts["averages"] = [model.folder.resolve().name for model in models]
        return average_bundles(own, place, place.name, provenance=facts)


def _average(
    models: Sequence[_Model],
    folds: Sequence[int],
    place: Path,
    examples: Sequence[Radiograph],
    *,
    apart: bool = False,
) -> Bundle:
    """Write the average of the models' networks that never saw these folds, unless it is there.

    apart: what goes with each network is chosen on its model's readings of the other folds alone.
    """
    if place.is_dir():
        return load_bundle(place)
    with tempfile.TemporaryDirectory() as folder:
        members = []
        for model in models:
            read = model.read.select(~np.isin(model.read.fold, folds)) if apart else model.read
            chosen = choose(read, Calibration())
            for fold in folds:
                members.append(Path(folder) / str(len(members)))
                name = f"{model_name(model.folder)}-fold{fold}"
                rewrite(members[-1], model.bundle(fold), name, chosen, {}, examples)
        facts = shared_provenance(models[0].bundle(folds[0]))
        return average_bundles(members, place, place.name, provenance=facts)


def _uncalibrated(bundle: Bundle, place: Path, chosen: Choices) -> Bundle:
    """Write a bundle whose probabilities are as its networks say them, without figures: those that
    it has are of the calibrated ones. chosen: on such readings."""
    facts = {key: said for key, said in bundle.manifest.provenance.items() if key != "out_of_fold"}
    manifest = bundle.manifest.model_copy(
        update={
            "temperature": 1.0,
            "bias": (),
            "operating_points": chosen.points,
            "provenance": facts,
        }
    )
    files = bundle.files | {"card.md": model_card(manifest, bundle.members).encode()}
    if manifest.kind != "average":
        return write_bundle(place, manifest, files)
    with tempfile.TemporaryDirectory() as folder:
        members = [
            _uncalibrated(member, Path(folder) / name, chosen)
            for name, member in zip(manifest.members, bundle.members, strict=True)
        ]
        return write_bundle(place, manifest, files | member_files(manifest, members))


def _finish(place: Path, average: Bundle, chosen: Choices, summary: dict) -> None:
    """The average with what was chosen on its own out-of-fold readings."""
    manifest = with_choices(average.manifest, chosen, summary)
    with_card(average, place, manifest)
