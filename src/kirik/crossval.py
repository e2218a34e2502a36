"""Cross-validation: every development radiograph read by a network that never saw its group.

DIR/fold1 …            the training runs, which are gone on with where they stopped
DIR/fold1/read.csv …   what each fold's network said of the fold left out, before calibration, and
                       beside it its findings, their strangeness, and what could not be read
DIR/report             out-of-fold predictions, calibrated by cross-fitting, findings, and figures
DIR/bundle             the model: one network trained on all of dev, or the average of the folds'
"""

import json
from collections.abc import MutableMapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from kirik.bundle import Bundle, load_bundle, model_name
from kirik.card import with_card
from kirik.console import Console
from kirik.dataset.check import select
from kirik.dataset.index import Index
from kirik.dataset.places import refuse_folder
from kirik.dataset.sources import load_index
from kirik.dataset.split import Split
from kirik.drafts import drafting
from kirik.errors import DataSetError, SettingsError
from kirik.evaluation.metrics import Metrics
from kirik.joining import average_bundles
from kirik.out_of_fold import choose, concat, read_fold, report_out_of_fold, unreadable_of
from kirik.radiograph import Radiograph
from kirik.shipping import (
    DRAFTS,
    Choices,
    compacted,
    costs,
    examples_of,
    rewrite,
    shared_provenance,
    summary_of,
)
from kirik.training.settings import PLACES, TrainingSettings
from kirik.trainings import Training, refuse_several_processes, train_all

Final = Literal["single", "average", "none"]


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
    built on has none for one of them, or the folder was begun otherwise, DataSetError if files or
    labels have changed since, OutputError if the folder cannot be made, or is the data set's own,
    else what training and reading raise.
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
    trained = partial(Training, data, settings, split=split, language=language)
    last = [trained(directory / "all", fold=None)] if final == "single" else []
    folds = [trained(directory / f"fold{fold}", fold=fold) for fold in split.folds]
    _check_built_on(settings, split, [*folds, *last])
    train_all([*folds, *(last if at_once > 1 else [])], at_once, console)
    read = concat([read_fold(one.run, index, split, one.fold, console) for one in folds])
    replace_file(directory / "settings.toml", to_toml(settings, without=PLACES))
    before = Path(settings.weights).expanduser()
    examples = examples_of(index, split)
    bundles = [load_bundle(one.run) for one in folds]
    with drafting(directory / DRAFTS) as folder:
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
    hashes: dict[str, str] = {}
    for name, fold in [*((f"fold{fold}", fold) for fold in split.folds), ("all", None)]:
        run = directory / name
        if (run / "bundle").is_dir() or (run / "run.json").is_file():
            begun = _check_run(run, settings, split, fold)
            check_data(run, begun, index, split, fold, hashes)


def refuse_run(directory: Path) -> None:
    """Raise SettingsError for the folder of a single training, whose model would be replaced."""
    if (directory / "run.json").is_file():
        raise SettingsError(
            f"{directory}: is the folder of a training; name another one with --out"
        )


def check_data(
    run: Path,
    begun: dict,
    index: Index,
    split: Split,
    fold: int | None,
    hashes: MutableMapping[str, str],
) -> None:
    """That a run learned from the files, classes and labels that the data set has now. begun: its
    run.json, which does not tell all of it if an older kirik wrote it. hashes: see `files_hash`.

    Raises DataSetError if files, labels or outlines of its training part have changed.
    """
    from kirik.training.run import files_hash, labels_hash

    records = select(index, split, "dev" if fold is None else f"train{fold}")
    now = {"classes": list(index.classes), "labels_sha256": labels_hash(records, index.classes)}
    if any(begun.get(name, value) != value for name, value in now.items()):
        raise DataSetError(
            f"{run}: the data set's classes, labels or outlines have changed since the run began; "
            "cross-validate anew, in another folder"
        )
    if not {"labels_sha256", "left_out"} <= begun.keys():
        return
    read = [record for record in records if record.id not in begun["left_out"]]
    if files_hash(read, index.classes, hashes) != begun["data_sha256"]:
        raise DataSetError(
            f"{run}: began with other files than {index.root} has, in {begun['data']}; name the "
            "data set as it was, or cross-validate anew, in another folder"
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
    own = {"device", "workers"}  # a machine's affair, which may change on the way
    asked = {"fold": fold} | settings.model_dump(exclude=own)
    for name, value in asked.items():
        if name in said and _unmoved(name, said[name]) != _unmoved(name, value):
            was, now = ("none" if one in (None, "") else one for one in (said[name], value))
            raise SettingsError(
                f"{run}: was begun with {name} {was}, not {now}; give that again, or {other}"
            )
    return begun


def _unmoved(name: str, value):
    """A setting as it stays when folders move: of a place, the name of what lies there."""
    if name not in PLACES or value in ("hub", "none"):
        return value
    return Path(value).absolute().name if value else None


def _check_built_on(
    settings: TrainingSettings, split: Split, trainings: Sequence[Training]
) -> None:
    """Before the first one trains for an hour: that there is a run to build on for the last one,
    too. A training that was begun is left to its own."""
    from kirik.training.built_on import changed_since, digests_of, find_built_on
    from kirik.training.runs import is_run

    left = [one.fold for one in trainings if not (one.run / "run.json").is_file()]
    for one in trainings if left else ():
        if one.fold in left:
            continue
        begun = json.loads((one.run / "run.json").read_text(encoding="utf-8"))
        if option := changed_since(begun, digests_of(settings, one.fold, split)):
            raise SettingsError(
                f"{one.run}: was begun with another --{option} than lies there now under the name; "
                "put that back, or name another folder with --out"
            )
    for name in PLACES:
        place = getattr(settings, name)
        if place and is_run(Path(place).expanduser()):
            for fold in left:
                find_built_on(place, fold, f"--{name}", split)


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
            why for fold in split.folds for why in unreadable_of(directory / f"fold{fold}")
        ],
        **own,
    }


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
    out, name, summary = directory / "bundle", model_name(directory), summary_of(metrics)
    if len(bundles) == 1:
        rewrite(out, bundles[0], name, chosen, summary, examples)
        return out
    with drafting(directory / DRAFTS) as folder:
        members = [folder / str(number) for number in range(len(bundles))]
        for place, bundle in zip(members, bundles, strict=True):
            fold = bundle.manifest.provenance["fold"]
            rewrite(place, bundle, f"{name}-fold{fold}", chosen, summary, examples)
        average = average_bundles(
            members,
            folder / "average",
            name,
            operating_points=chosen.points,
            provenance=shared_provenance(bundles[0]) | {"out_of_fold": summary},
        )
        with_card(average, out)
    return out
