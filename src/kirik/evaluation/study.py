"""The study of a folder's models as Markdown: see `kirik.evaluation.studied`."""

import json
import shlex
import tomllib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from kirik.errors import DataSetError
from kirik.evaluation.bootstrap import Estimate, bootstrap
from kirik.evaluation.compare import compare
from kirik.evaluation.metrics import Metrics
from kirik.evaluation.predictions import Predictions
from kirik.evaluation.questions import FractureQuestion
from kirik.evaluation.ranking import ratio
from kirik.evaluation.studied import (
    ABLATIONS,
    SETTINGS,
    Studied,
    check_cross_validated,
    load_studied,
)
from kirik.operating_points import OperatingPoints

GATE, NOTES = "gate.json", "notes.md"
LEAST = 5
"""Radiographs of either kind without which a subgroup has no figure."""

WHETHER = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "sensitivity_at_specificity_90": "sensitivity at specificity 0.90",
    "specificity_at_sensitivity_90": "specificity at sensitivity 0.90",
    "specificity_at_sensitivity_95": "specificity at sensitivity 0.95",
    "ece": "ECE",
    "brier": "Brier",
}
THREE_WAY = {
    "share_uncertain": "uncertain",
    "error_in_decided": "wrong among the decided",
    "error_in_fracture": "wrong among those called fracture",
    "fractures_dismissed": "fractures called no fracture",
    "specificity_at_high": "others not called fracture",
    "out_of_scope": "refused by the scope gate",
}
WHERE = {
    "peak_on_fracture": "peak on a fracture",
    "map50": "mAP50",
    "found_at_0.1": "fractures found at 0.1 false a radiograph",
    "found_at_0.5": "at 0.5",
    "fractures_found": "fractures found as shown",
    "false_per_normal": "false findings a normal radiograph",
}
COST = {
    "parameters": "parameters (million)",
    "gflops": "GFLOPs",
    "megabytes": "ONNX (MB)",
    "readings_per_second": "readings a second",
    "cores": "on cores",
}


def write_study(folder: Path, out: Path, *, replicates: int = 2000, seed: int = 0) -> None:
    """Write the study of a folder's models, best AUROC first.

    Raises DataSetError if there is none, they were not measured on one split, or one was not
    cross-validated.
    """
    loaded = load_studied(folder)
    for one in loaded:
        check_cross_validated(folder / one.name, one.metrics)
    studied = sorted(loaded, key=lambda one: -one.metrics["fracture"]["auroc"]["value"])
    if not studied:
        raise DataSetError(f"{folder}: no cross-validated model in it; add one with --add RUN")
    splits = {one.facts.get("split") for one in studied}
    if len(splits) > 1:
        raise DataSetError(f"{folder}: models of several splits ({', '.join(map(str, splits))})")
    first = studied[0]
    counts = first.metrics
    commands = [_command(one, folder) for one in studied]
    lines = [
        "# The study",
        "",
        f"Each model was trained once for each fold of `{splits.pop()}` without it, and read that "
        f"fold: {counts['n']} radiographs of {counts['groups']} groups, "
        f"{round(counts['prevalence'] * counts['n'])} fractured. What is chosen (calibration, "
        "operating points, the findings' threshold) is chosen for each fold on the others. In "
        "brackets the 95 % interval, by bootstrap over groups.",
        "",
        *(f"- {one.name}: {_defined(one, folder)}." for one in studied),
        "",
        "## Whether",
        "",
        *_table(studied, WHETHER, lambda one: one.metrics["fracture"]),
        "",
        "At a specificity or a sensitivity, the threshold is read off the same radiographs: such a "
        "figure compares models, and promises nothing for others.",
        "",
        "Three-way decision: no fracture below the point that keeps a sensitivity of 0.95, so that "
        "about 5 % of fractures are dismissed; fracture from the point on that keeps a specificity "
        "of 0.95; uncertain between. What the scope gate would refuse is measured all the same.",
        "",
        *_table(studied, THREE_WAY, _three_way),
        "",
        "## Where",
        "",
        "A finding counts as right for mAP50 where its box overlaps a fracture's by an "
        "intersection over union of 0.5, otherwise where its centre lies in the fracture's box. As "
        "shown: what a reading gives, which is at least its strongest finding, if its score is "
        "0.02 or more, unless it says that there is no fracture.",
        "",
        *_table(studied, WHERE, _where),
        "",
        *_differences(studied, replicates, seed),
        "## For whom",
        "",
        "AUROC, and in brackets its interval, which an AUROC of 1 has not; – where fewer than five "
        "radiographs are of a kind. A radiograph may show several regions, and counts in each.",
        "",
        *_subgroups(studied, partial(_auroc, replicates=replicates, seed=seed)),
        "",
        "By each model's operating points, which are chosen on all of these radiographs together, "
        "whatever they show: the share of fractures called no fracture, and below it the share of "
        "the others called fracture.",
        "",
        *_subgroups(studied, partial(_share, "dismissed", replicates=replicates, seed=seed)),
        "",
        *_subgroups(studied, partial(_share, "called", replicates=replicates, seed=seed)),
        "",
        "## Cost",
        "",
        *_costs(studied),
        "",
        *_gate(folder / GATE),
        *_ablations(folder / ABLATIONS, replicates, seed),
        *_notes(folder / NOTES),
        "## Commands",
        "",
        "FOLDER holds the starting weights (`--weights hub` takes timm's). "
        * any("--weights FOLDER" in command for command in commands)
        + "One that builds on another's runs needs these first.",
        "",
        *(f"- `{command}`" for command in commands),
    ]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _notes(path: Path) -> list[str]:
    """What people wrote beside the figures."""
    return [*path.read_text(encoding="utf-8").splitlines(), ""] if path.is_file() else []


def _command(one: Studied, folder: Path) -> str:
    """What trains a model again."""
    said, data = one.facts, _data(one)
    where = f"--split {said.get('split')} --out runs/{one.name}"
    if said.get("averages"):
        runs = " ".join(f"runs/{name}" for name in said["averages"])
        return f"kirik ensemble {runs} --data {data} {where}"
    start, overview = (said.get(key) for key in ("start", "overview"))
    # Of weights in files no more than a name is known, and an older kirik kept not even that.
    own = said.get("weights")
    weights = f"runs/{start}" if start else own if own in ("none", "hub") else "FOLDER"
    built = f"--overview runs/{overview} " if overview else ""
    built += f"--final {said['final']} " if said.get("final") else ""
    settings = folder / one.name / SETTINGS
    return f"kirik crossval {data} {where} --weights {weights} {built}--settings {settings}"


def _data(one: Studied) -> str:
    """The data set as a command names it. FracAtlas is written as its makers write it, whatever
    its folder is called on the machine that measured."""
    name = one.facts.get("data_set") or "DATA"
    return "FracAtlas" if name.casefold() == "fracatlas" else shlex.quote(name)


def _defined(one: Studied, folder: Path) -> str:
    """What a model is, as far as its facts and settings tell."""
    said, file = one.facts, folder / one.name / SETTINGS
    if said.get("averages"):
        return f"the average of {' and '.join(said['averages'])}"
    try:
        settings = tomllib.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except ValueError as error:
        raise DataSetError(f"{file}: no readable settings ({error}); add the run again") from error
    network, size = said.get("network"), settings.get("size")
    seen = f"{size} × {size} pixels" if size else "pixels of its own size"
    words = f"{network} on {seen}"
    if said.get("overview"):
        words = (
            f"{said['overview']} on the whole radiograph, and {network} on patches of it of {seen} "
            "where that sees most evidence"
        )
        if settings.get("close_ups"):
            words += ", and on its findings close up"
    if "epochs" in settings:
        words += f", trained for {settings['epochs']} epochs"
    return words + (f" from the weights of {said['start']}" if said.get("start") else "")


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _table(studied: Sequence[Studied], columns: dict[str, str], figures) -> list[str]:
    lines = [_row(["model", *columns.values()]), _row(["---"] * (len(columns) + 1))]
    for one in studied:
        found = figures(one)
        lines.append(_row([one.name, *(_figure(found.get(name)) for name in columns)]))
    return lines


def _three_way(one: Studied) -> dict[str, Estimate | str]:
    """The three-way decision's figures, with what the shares count that matter most."""
    found = one.metrics["fracture"]["three_way"]
    if not found:
        return {}
    called, cleared = (found["counts"][name] for name in ("fracture", "no_fracture"))
    fractured = sum(cell["fractured"] for cell in found["counts"].values())
    refused = one.metrics.get("out_of_scope")
    counted = {
        "error_in_fracture": (called["not_fractured"], sum(called.values())),
        "fractures_dismissed": (cleared["fractured"], fractured),
    }
    said = {
        name: f"{_figure(found.get(name))}, {part} of {total}"
        for name, (part, total) in counted.items()
    }
    if refused is not None:
        said["out_of_scope"] = f"{refused} of {one.metrics['n']}"
    return found | said


def _where(one: Studied) -> Metrics:
    return one.metrics["fracture"] | one.metrics.get("localization", {})


def _figure(figure: Estimate | str | None, dash: str = "–") -> str:
    """A figure and its interval, or what is said of it already. dash: between the interval's ends;
    " to " where they may be negative."""
    if isinstance(figure, str):
        return figure
    if not figure or figure["value"] is None:
        return "–"
    if figure["low"] is None:
        return f"{figure['value']:.3f}"
    return f"{figure['value']:.3f} ({figure['low']:.3f}{dash}{figure['high']:.3f})"


def _differences(studied: Sequence[Studied], replicates: int, seed: int) -> list[str]:
    if len(studied) < 2:
        return []
    runs = [(one.name, one.predictions, one.metrics) for one in studied]
    compared = compare(runs, bootstrap=replicates, seed=seed)
    names = {name: WHETHER[name] for name in ("auroc", "auprc", "ece", "brier")}
    lines = ["## Differences", "", f"Each model minus {studied[0].name}, on the same radiographs:"]
    lines += ["", _row(["model", *names.values()]), _row(["---"] * (len(names) + 1))]
    for other in compared.differences:
        figures = [_figure(other.figures.get(name), " to ") for name in names]
        lines.append(_row([other.name, *figures]))
    return [*lines, ""]


def _subgroups(
    studied: Sequence[Studied], cell: Callable[[Studied, Predictions], str]
) -> list[str]:
    """A row for each subgroup; cell: what stands there of a model and its part of the subgroup."""
    groups = _groups(studied[0].predictions)
    lines = [
        _row(["", "radiographs", "fractured", *(one.name for one in studied)]),
        _row(["---"] * (len(studied) + 3)),
    ]
    for title, ids in groups.items():
        parts = [_only(one.predictions, ids) for one in studied]
        fractured = parts[0].fractured
        cells = [title, str(len(fractured)), str(int(fractured.sum()))]
        cells += [cell(one, part) for one, part in zip(studied, parts, strict=True)]
        lines.append(_row(cells))
    return lines


def _groups(predictions: Predictions) -> dict[str, set[str]]:
    """Title → ids: one for each region, view and kind of hardware, whatever else is named too."""
    found: dict[str, set[str]] = {}
    for column in ("region", "view"):
        for image_id, value in zip(
            predictions.ids, predictions.subgroups.get(column, ()), strict=False
        ):
            for name in filter(None, value.split("+")):
                found.setdefault(f"{column}: {name}", set()).add(image_id)
    for image_id, value in zip(
        predictions.ids, predictions.subgroups.get("hardware", ()), strict=False
    ):
        if value:
            title = "with hardware" if value == "yes" else "without hardware"
            found.setdefault(title, set()).add(image_id)
    return dict(sorted(found.items()))


def _only(predictions: Predictions, ids: set[str]) -> Predictions:
    return predictions.select(np.array([image_id in ids for image_id in predictions.ids]))


def _auroc(_: Studied, part: Predictions, *, replicates: int, seed: int) -> str:
    fractured = int(part.fractured.sum())
    if min(fractured, len(part.ids) - fractured) < LEAST:
        return "–"
    ranking = FractureQuestion(part).ranking
    drawn = bootstrap(
        lambda weights: {"auroc": ranking.curve(weights).auroc()},
        part.fractured,
        part.groups,
        replicates=replicates,
        seed=seed,
        counted={},
    )
    return _figure(drawn.estimates["auroc"])


def _share(kind: str, one: Studied, part: Predictions, *, replicates: int, seed: int) -> str:
    """Of the fractured ones that are `dismissed`, or of the others that are `called` fracture."""
    said = one.metrics["fracture"]["three_way"]
    if not said:
        return "–"
    points, dismissed = OperatingPoints.from_dict(said["points"]), kind == "dismissed"
    asked = part.select(part.fractured == dismissed)
    if len(asked.ids) < LEAST:
        return "–"
    probability = asked.fracture_probability
    hit = probability < points.low if dismissed else probability >= points.high
    drawn = bootstrap(
        lambda weights: {"share": ratio(weights @ hit, weights.sum(axis=1))},
        asked.fractured,
        asked.groups,
        replicates=replicates,
        seed=seed,
        counted={"share": np.ones(len(hit), bool)},
    )
    return _figure(drawn.estimates["share"])


def _gate(path: Path) -> list[str]:
    """What is no radiograph of its kind, and how much of it each shipped model refuses."""
    if not path.is_file():
        return []
    try:
        models = json.loads(path.read_text(encoding="utf-8"))
        rows = _gate_rows(models)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise DataSetError(
            f"{path}: not what scripts/gate.py measure writes; measure again, or remove it"
        ) from error
    return [
        "## Scope",
        "",
        "Share of pictures refused as `out_of_scope` (or unreadable) that are no radiographs of "
        "limbs, shoulders or hips, in brackets the 95 % interval (Wilson); the gate lets 99 % of "
        "out-of-fold radiographs pass. `python scripts/gate.py gather` says where they come from, "
        "`measure` reads them. The chest films are one film, whole, turned and in parts; a "
        "skull's projections are summed up from CT.",
        "",
        _row(["", "pictures", *models]),
        _row(["---"] * (len(models) + 2)),
        *rows,
        "",
    ]


def _gate_rows(models: dict[str, dict]) -> list[str]:
    lines, (first, *_) = [], models.values()
    for kind, row in first.items():
        shares = [
            f"{one[kind]['refused'] / one[kind]['n']:.3f} "
            f"({one[kind]['low']:.3f}–{one[kind]['high']:.3f})"
            for one in models.values()
        ]
        lines.append(_row([kind.replace("-", " "), str(int(row["n"])), *shares]))
    return lines


def _ablations(folder: Path, replicates: int, seed: int) -> list[str]:
    if not folder.is_dir():
        return []
    lines = [
        "## Ablations",
        "",
        "Networks of one seed, trained without one fold and measured on it, or on all folds where "
        "dev is named; what each differs from the first of its table in is in its name, and the "
        "difference is paired. `kirik train DATA --split SPLIT --fold FOLD --settings FILE` with "
        f"the `settings.toml` of a row's folder trains it again ({folder}), `kirik crossval` one "
        "of all folds.",
        "",
    ]
    for topic in sorted(path for path in folder.iterdir() if path.is_dir()):
        lines += [f"### {_title(topic.name)}", "", *_rows(topic, replicates, seed), ""]
    return lines


def _rows(topic: Path, replicates: int, seed: int) -> list[str]:
    runs = load_studied(topic)
    differences = {}
    if len(runs) > 1:  # the first row of a topic differs from none
        given = [(one.name, one.predictions, one.metrics) for one in runs]
        compared = compare(given, bootstrap=replicates, seed=seed)
        differences = {one.name: one.figures.get("auroc") for one in compared.differences}
    columns = ["AUROC", "AUPRC", "sensitivity at specificity 0.90", "peak on a fracture"]
    lines = [
        _row(["", "measured on", *columns, "difference of AUROC"]),
        _row(["---"] * (len(columns) + 3)),
    ]
    for one in runs:
        found = one.metrics["fracture"]
        names = ("auroc", "auprc", "sensitivity_at_specificity_90", "peak_on_fracture")
        measured = f"{one.facts.get('part')} of {one.facts.get('split')} ({one.metrics['n']})"
        cells = [_figure(found.get(name)) for name in names]
        difference = _figure(differences.get(one.name), " to ")
        lines.append(_row([_title(one.name), measured, *cells, difference]))
    return lines


def _title(name: str) -> str:
    return name.lstrip("0123456789").lstrip("-").replace("-", " ")


def _costs(studied: Sequence[Studied]) -> list[str]:
    lines = [_row(["model", "input", *COST.values()]), _row(["---"] * (len(COST) + 2))]
    for one in studied:
        cost = one.facts.get("cost", {})
        cells = [f"{cost[name]:.4g}" if name in cost else "–" for name in COST]
        lines.append(_row([one.name, str(cost.get("size", "–")), *cells]))
    return lines
