"""Training as a whole job: what joins the rooms that must not know each other.

Training ends in a network, evaluation measures probabilities, a bundle holds a graph; here they
become `train` and `resume`, as the command line and a script call them.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from kirik.bundle import (
    LONGEST_NAME,
    Evidence,
    Manifest,
    Scope,
    load_bundle,
    model_name,
    write_bundle,
)
from kirik.card import model_card
from kirik.console import Console
from kirik.dataset.check import select
from kirik.dataset.index import Index
from kirik.dataset.places import refuse_folder
from kirik.dataset.sources import load_index
from kirik.dataset.split import Split, load_split
from kirik.drafts import drafting
from kirik.errors import TrainingError
from kirik.evaluation.calibration import fit_temperature
from kirik.evaluation.history import read_history
from kirik.evaluation.plots import accuracy_figure, loss_figure
from kirik.joining import cascade_bundles
from kirik.measuring import report_on
from kirik.operating_points import OperatingPoints, choose_operating_points
from kirik.reading.network import softmax
from kirik.shipping import DRAFTS
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
        if settings.masks and any(record.boxes or record.polygons for record in records):
            console.say(
                "the marked fractures train no evidence map, which needs a class that means “no "
                "fracture”"
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
            say=console.say,
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
        name=model_name(directory),
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
        write_bundle(directory / "bundle", manifest, files, replace=True)
    else:
        _join(Path(overview), manifest, files, directory)
    return directory / "bundle"


def _join(overview: Path, closer: Manifest, files: dict, directory: Path) -> None:
    """The run's bundle: the network that it built on, and its own for patches."""
    from kirik.training.runs import find_run

    facts = closer.provenance
    digest = facts["split_sha256"]
    first = load_bundle(find_run(overview.expanduser(), facts["fold"], "--overview", digest))
    with drafting(directory / DRAFTS) as folder:
        own = closer.model_copy(
            update={"name": f"{closer.name}-closer"[:LONGEST_NAME], "scope": None}
        )
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
        made = joined.files | card | history
        write_bundle(directory / "bundle", joined.manifest, made, replace=True)


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
