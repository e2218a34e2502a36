"""The model card: what a model is, what it was made of, and what it must not be used for."""

from collections.abc import Sequence
from pathlib import Path

from kirik.bundle import Bundle, Manifest, write_bundle
from kirik.operating_points import OperatingPoints

FRACATLAS = (
    "FracAtlas (Abedeen et al., *Scientific Data* 10, 521, 2023, "
    "doi:10.1038/s41597-023-02432-4), licence CC BY 4.0: radiographs of hands, legs, hips and "
    "shoulders from three hospitals in Bangladesh, labelled by two radiologists and an "
    "orthopaedist (no CT or follow-up is told of); without patient ids, so that a group is what "
    "was filed one after another and shows one region, with near duplicates."
)


def model_card(manifest: Manifest, members: Sequence[Bundle] = ()) -> str:
    """The card of a trained bundle, as Markdown (Mitchell et al. 2019, arXiv:1810.03993).

    members: those of an average or a cascade, whose seeds it tells. Of an average it tells, too,
    what they have in common: their split, data and notes.
    """
    if manifest.kind == "average":
        manifest = _with_common(manifest, members)
    facts = manifest.provenance
    lines = [f"# {manifest.name}", "", *_purpose(manifest), "", "## Training", ""]
    lines += [f"- {line}" for line in _training(manifest)]
    lines += ["", "## Calibration and decisions", ""]
    lines += [f"- {line}" for line in _decisions(manifest)]
    if facts.get("out_of_fold"):
        lines += ["", "## Figures", "", *_figures(facts, _seeds(manifest, members))]
        if manifest.kind == "average":
            lines += ["", _OF_ONE]
    lines += ["", "## Limits", ""]
    lines += [f"- {line}" for line in _limits(manifest)]
    return "\n".join(lines) + "\n"


def with_card(
    bundle: Bundle, place: Path | None = None, manifest: Manifest | None = None
) -> Bundle:
    """Write a bundle with its model card, in place of the one that it may have; loads it anew.

    place: another one than its own. manifest: another one than its own.
    Raises BundleError if the disk refuses.
    """
    manifest = manifest or bundle.manifest
    card = {"card.md": model_card(manifest, bundle.members).encode()}
    return write_bundle(place or bundle.path, manifest, bundle.files | card, replace=True)


def _with_common(manifest: Manifest, members: Sequence[Bundle]) -> Manifest:
    """An average's manifest with what its members' provenance has in common, as far as a card
    tells it and its own does not."""
    own, theirs = manifest.provenance, [member.manifest.provenance for member in members]
    common = {}
    for name in ("split", "data_sha256"):
        values = {facts.get(name) for facts in theirs}
        if len(values) == 1:
            common[name] = values.pop()
    notes = list(own.get("notes", ()))
    for note in theirs[0].get("notes", ()) if theirs else ():
        if note not in notes and all(note in facts.get("notes", ()) for facts in theirs):
            notes.append(note)
    return manifest.model_copy(update={"provenance": common | own | {"notes": notes}})


def _seeds(manifest: Manifest, members: Sequence[Bundle]) -> set[int | None]:
    """Those of the trainings that a model was made by; None for one that is not known."""
    if members:
        return set().union(*(_seeds(member.manifest, member.members) for member in members))
    return {manifest.provenance.get("settings", {}).get("seed")}


def _purpose(manifest: Manifest) -> list[str]:
    classes = ", ".join(manifest.classes)
    what = {
        "network": f"A {manifest.network} network",
        "average": f"An average of {len(manifest.members)} models",
        "cascade": f"A cascade of two networks ({manifest.network}), one for the whole radiograph "
        f"and one that looks closer at {manifest.looks} places of it"
        f"{_spared(manifest)}{_close_ups(manifest)},",
    }[manifest.kind]
    return [
        f"{what} that tells {classes} apart on plain radiographs. It is for "
        "research and decision support by trained people. It is not a medical device, and a "
        "reading never replaces a radiologist's.",
    ]


def _spared(manifest: Manifest) -> str:
    if not manifest.looks_from:
        return ""
    return f" unless the first holds a fracture for less probable than {manifest.looks_from:g}"


def _close_ups(manifest: Manifest) -> str:
    if not manifest.close_ups:
        return ""
    return f", and once more, close up, at {manifest.close_ups} findings at most"


def _training(manifest: Manifest) -> list[str]:
    facts = manifest.provenance
    if manifest.kind == "cascade" or (manifest.kind == "average" and "settings" not in facts):
        return _made_of(manifest)
    settings = facts.get("settings", {})
    fold = "none left out" if facts.get("fold") is None else f"without fold {facts['fold']}"
    chosen = (
        f"{facts.get('chosen_on')} others (whole groups) chose the epoch "
        f"({facts.get('best_epoch')}), the calibration and the thresholds"
        if facts.get("chosen_on")
        else f"none held out, for {facts.get('epochs')} epochs"
    )
    average = manifest.kind == "average"
    if average:
        fold = f"each of the {len(manifest.members)} models without another fold"
    trained = "" if average else f"{facts.get('trained_on')} radiographs trained, "
    found = [
        f"split {facts.get('split')}, {fold}; seed {settings.get('seed', 'not known')}",
        f"{trained}{chosen}, {_start(settings)}",
        f"input {manifest.preprocessing.size} × {manifest.preprocessing.size} pixels, grayscale, "
        "letterboxed",
        f"classes balanced by {settings.get('balance')}; SHA-256 of the data "
        f"{facts.get('data_sha256')}",
    ]
    return [*_data_set(facts), *found, *facts.get("notes", ())]


def _made_of(manifest: Manifest) -> list[str]:
    """Of a cascade, or an average of models that were trained in several ways."""
    facts = manifest.provenance
    cards = [f"{name} (members/{name}/card.md)" for name in manifest.members]
    known = {"split": "split", "data_sha256": "SHA-256 of the data"}
    told = [f"{words} {facts[name]}" for name, words in known.items() if facts.get(name)]
    return [
        *_data_set(facts),
        *(["; ".join(told)] if told else []),
        f"how each of its models was trained is on their own cards: {', '.join(cards)}",
        *facts.get("notes", ()),
    ]


def _start(settings: dict) -> str:
    """Where the weights of a training began."""
    weights = settings.get("weights")
    if weights == "none":
        return "from random weights"
    return "from timm's weights" if weights == "hub" else f"from the weights in {weights}"


def _data_set(facts: dict) -> list[str]:
    return [FRACATLAS] if str(facts.get("split", "")).startswith("fracatlas") else []


def _decisions(manifest: Manifest) -> list[str]:
    points = manifest.operating_points
    lines = [f"temperature {manifest.temperature:.3f}{_bias(manifest)}"]
    if points:
        lines.append(
            f"below {points.low:.3f}: no_fracture; from {points.high:.3f}: fracture; between: "
            "uncertain, for a person to decide"
        )
    if points and points.fractured is None and manifest.kind == "average":
        lines.append(
            "nothing was held out to calibrate the average or to choose these points: they are the "
            "means of its models' own"
        )
    elif points and points.fractured is None:
        lines.append("nothing was held out to calibrate it or to choose these points: they are 0.5")
    elif points:
        lines.append(
            f"the points were chosen on {points.fractured} fractured and {points.not_fractured} "
            f"other radiographs, for a sensitivity of {points.wanted_sensitivity:.2f} and a "
            f"specificity of {points.wanted_specificity:.2f} there; what they hold on other "
            "radiographs is in the report of an evaluation"
        )
    if manifest.evidence:
        lines.append("the evidence map was trained on outlined fractures and gives the findings")
    return lines


def _bias(manifest: Manifest) -> str:
    each = zip(manifest.classes, manifest.bias, strict=False)
    return "".join(f", bias {bias:+.3f} for {name}" for name, bias in each)


_NAMES = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "sensitivity_at_specificity_90": "sensitivity at specificity 0.90",
    "ece": "expected calibration error",
    "brier": "Brier score",
    "share_uncertain": "left to a person as uncertain",
    "error_in_decided": "wrong among the decided",
    "error_in_fracture": "not fractured among those called fracture",
    "error_in_no_fracture": "fractured among those called no fracture",
    "peak_on_fracture": "map's peak on a fracture",
    "map50": "mAP50 of the findings",
    "fractures_found": "fractures found",
    "false_per_normal": "false findings on a radiograph without a fracture",
}


_OF_ONE = (
    "The figures are those of networks that never saw the fold that they read. All networks of "
    "this model together saw every radiograph here; to measure the whole takes radiographs that "
    "none of them saw."
)


def _figures(facts: dict, seeds: set[int | None]) -> list[str]:
    lines = [
        f"Out of fold on the development part of {facts.get('split')}: each radiograph was read by "
        "a network trained without its fold, and judged by the calibration, thresholds and points "
        "that the other folds chose. 95 % intervals by bootstrap over groups (the calibration "
        f"error's less what drawing again adds to it; its bins hold as many radiographs each); "
        f"{_of(seeds)}, so that what another training would give is not in them.",
        "",
        "| measure | value | interval |",
        "| --- | --- | --- |",
    ]
    for name, (value, low, high) in facts["out_of_fold"].items():
        if value is not None and name in _NAMES:
            interval = "–" if low is None else f"{low:.3f}–{high:.3f}"
            lines.append(f"| {_NAMES[name]} | {value:.3f} | {interval} |")
    return lines


def _of(seeds: set[int | None]) -> str:
    known = [str(seed) for seed in sorted(seeds - {None})]
    if len(seeds) == 1:
        return "of one seed" if known else "of trainings whose seed is not known"
    others = ["others that are not known"] if None in seeds else []
    told = [*known, *others]
    return f"of the seeds {', '.join(told[:-1])} and {told[-1]}, each network trained once"


def _limits(manifest: Manifest) -> list[str]:
    facts, scope = manifest.provenance, manifest.scope
    limits = [
        "Measured on radiographs like those it was trained on alone; other hospitals, devices and "
        "patients may give other results.",
        "It knows nothing of the patient, of other views, or of earlier radiographs.",
        "Most radiographs that it was trained on were upright or nearly so; one that lies sideways "
        "is read less well.",
    ]
    if scope and scope.accepted < 1:
        limits.append(
            "What is no plain radiograph (a photograph, a page, a slice, an inverted window) is "
            f"out_of_scope where the gate tells; it lets {scope.accepted:.0%} of radiographs like "
            "the training data pass, and refuses the rest of them, too, and many that were much "
            "brightened, had their histogram spread, or were cropped."
        )
    else:
        limits.append(
            "Anything but a plain radiograph (a photograph, CT, MR) gives a number without meaning."
        )
    if manifest.operating_points and manifest.operating_points.fractured:
        limits.append(_prevalence(manifest.operating_points, facts.get("out_of_fold", {})))
    if str(facts.get("split", "")).startswith("fracatlas"):
        limits.append(
            "Few hips and shoulders; nearly every radiograph with hardware is fractured in the "
            "data, so hardware raises the probability by itself; chest, skull and spine are "
            "absent. Oblique views are read worst, and more fractures of legs than of hands are "
            "called no_fracture."
        )
    return limits


_RARER = (0.1, 0.05)


def _prevalence(points: OperatingPoints, figures: dict) -> str:
    """What holds where fractures are as common as where it was calibrated, and what where not."""
    own = points.fractured / (points.fractured + points.not_fractured)
    wrong, *_ = figures.get("error_in_fracture", [None])
    told = (
        f"Calibrated where {own:.0%} were fractured: where fewer are, its probabilities are too "
        "high, and more of those that it calls fracture are not"
    )
    if not wrong or wrong >= 1 or own <= max(_RARER):
        return f"{told}."
    # Sensitivity and specificity being the same, false to true calls go with the odds.
    odds = wrong / (1 - wrong) * own / (1 - own)
    shares = [odds * (1 - other) / (odds * (1 - other) + other) for other in _RARER]
    others = ", ".join(
        f"{share:.0%} where {other:.0%} are fractured"
        for share, other in zip(shares, _RARER, strict=True)
    )
    return f"{told} (by the same sensitivity and specificity {wrong:.0%} here, {others})."
